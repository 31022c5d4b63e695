// Package nodeidentity stores in the API server what package hub/join needs: the
// certificate authorities, the join tokens, and the key that each node's name belongs to.
//
//	store, err := nodeidentity.New(nodeidentity.Config{Client: client})
//	token, err := store.CreateToken(ctx, "edge-*", time.Hour)
//
// Everything but the joins that wait, see below, is a Secret in cloudcore's namespace.
// Every change names the version that it replaces, so any number of cloudcores can serve
// joins at the same time: a token is used once, and a name goes to one key. Of a token
// only the hash of its secret is stored.
//
// A name that nobody has claimed is not always free. A Node that exists and was
// never claimed, such as a control plane's, belongs to somebody else, and no
// token gives its name away.
//
// A machine whose join waits for an operator is a CertificateSigningRequest of the signer
// [SignerName], which cloudcore creates; its annotations say who asks. To approve it takes
// Kubernetes' own right to approve for that signer, and none to Secrets ([Store.Decide],
// kubectl certificate approve). A request alone gives nothing: what counts is the claim of the
// name, which cloudcore writes when a valid token was used. The decision is kept on the claim,
// since the cluster removes requests.
//
// A Watcher follows what other programs change. It calls its functions from one
// goroutine, in the order of the changes; changes in quick succession may come
// as one. Methods of a Store may be called by several goroutines, and in several
// programs, at once.
package nodeidentity
