#!/usr/bin/env bash
# Makes the certificates of the tests: nobody's, for nothing but tests, valid for a hundred years.
#
#   ca.pem           an authority; its key is thrown away
#   edge.pem, .key   for edge.example.com and *.shop.example.com, by an intermediate of ca.pem
#   local.pem, .key  for localhost and 127.0.0.1, by itself; RSA
#   client.pem, .key for clients, by ca.pem, without a DNS name
#   expired.pem, future.pem  of edge.key, in a time that is over, and in one that is to come
#   encrypted.key    edge.key, encrypted
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
begin=20240101000000Z
end=21240101000000Z

cat > "$work/conf" << EOF
[ca]
default_ca = d
[d]
new_certs_dir = $work
database = $work/db
rand_serial = yes
policy = p
default_md = sha256
unique_subject = no
[p]
organizationName = optional
commonName = supplied
EOF
: > "$work/db"

authority='basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign'
leaf='basicConstraints=critical,CA:FALSE'

ec() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }

# sign NAME KEY EXTENSIONS OUT SIGNER...: a certificate of KEY, by `-selfsign -keyfile KEY` or by
# `-cert CERT -keyfile KEY`.
sign() {
    openssl req -new -key "$2" -subj "/O=Tidegate tests/CN=$1" -out "$work/csr"
    printf '%b\n' "$3" > "$work/ext"
    openssl ca -batch -notext -config "$work/conf" -extfile "$work/ext" -in "$work/csr" \
        -startdate $begin -enddate $end -out "$4" "${@:5}" 2> /dev/null
}

ec "$work/ca.key"
sign Authority "$work/ca.key" "$authority" ca.pem -selfsign -keyfile "$work/ca.key"
ec "$work/inter.key"
sign Intermediate "$work/inter.key" "$authority" "$work/inter.pem" -cert ca.pem -keyfile "$work/ca.key"

ec edge.key
sign edge.example.com edge.key \
    "$leaf\nsubjectAltName=DNS:Edge.example.com,DNS:*.shop.example.com,IP:127.0.0.1" \
    "$work/edge.pem" -cert "$work/inter.pem" -keyfile "$work/inter.key"
cat "$work/edge.pem" "$work/inter.pem" > edge.pem
openssl pkcs8 -topk8 -in edge.key -passout pass:test -out encrypted.key

ec client.key
sign 'a client' client.key "$leaf\nextendedKeyUsage=clientAuth" client.pem -cert ca.pem -keyfile "$work/ca.key"

openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out local.key
sign localhost local.key "$leaf\nsubjectAltName=DNS:localhost,IP:127.0.0.1" local.pem -selfsign -keyfile local.key

begin=20000101000000Z end=20010101000000Z
sign expired.example.com edge.key "$leaf\nsubjectAltName=DNS:expired.example.com" expired.pem \
    -selfsign -keyfile edge.key
begin=21000101000000Z end=21010101000000Z
sign future.example.com edge.key "$leaf\nsubjectAltName=DNS:future.example.com" future.pem \
    -selfsign -keyfile edge.key
chmod 644 ./*.key
