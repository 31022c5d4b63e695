// Package sign makes the signatures of a release with one ECDSA P-256 key: of a file, as "cosign
// verify-blob" and openssl verify it; of an artefact in an OCI image layout, in cosign's form for
// key pairs; and, with a certificate, in Notation's form.
package sign
