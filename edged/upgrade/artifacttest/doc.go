// Package artifacttest makes artefacts of upgrades for tests: signed and unsigned ones, layouts in
// a tar, a registry that serves them, and hostile layers.
//
//	key := artifacttest.NewKey(t)
//	a := artifacttest.New(artifacttest.Options{Version: "v1.2.3"})
//	a.SignKey(t, key)
//	trust := artifacttest.Trust(t, map[string]*ecdsa.PublicKey{"release": &key.PublicKey})
//	file := a.WriteLayout(t, t.TempDir())
package artifacttest
