// Package join gives a machine its identity: a certificate that says which node it is. A
// cloud trusts nothing else. The package renews that certificate for years, and revokes
// it.
//
// # Guided tour
//
// In the cloud, a [Keyring] holds the certificate authorities and serves their
// TLS configuration, and a [Handler] answers machines at [JoinPath], [RenewPath]
// and [TrustPath]:
//
//	ca, err := join.NewCA("my cloud", time.Now())
//	...
//	ring, err := join.NewKeyring(join.KeyringConfig{
//		Authorities: join.Authorities{Issuer: ca}, Hosts: []string{"cloud.example"},
//	})
//	...
//	handler, err := join.NewHandler(join.HandlerConfig{Keyring: ring, Tokens: store, Names: store})
//	...
//	srv := &http.Server{Handler: handler, TLSConfig: ring.ServerTLS()}
//
// What must be stored is behind small interfaces: [Tokens], and [Names], which records
// the key that a name belongs to. A store that is a [Ledger] or [RevokedKeys] too makes
// rotation visible and revocation possible. Package jointest has one in memory, and a
// suite for each of these interfaces.
//
// An operator makes a [Token], which is short-lived, good for one use, bound to
// a node's name or a pattern of names, and carries the pin of the cloud's
// authority. Of its secret only a hash is stored. On the machine
//
//	key, err := join.PendingKey(dir)
//	...
//	cred, err := join.JoinWithKey(ctx, join.Request{URL: "https://cloud.example", Token: token, Node: "edge-1"}, key)
//	...
//	err = cred.Save(dir)
//
// checks the cloud by that pin alone and trades the token for a certificate. The
// key is made there, is on disk before anything is asked, and never leaves. If
// the answer is lost, the same lines repeat the join with the same token: it was
// used up by this key, which may use it again.
//
// From then on the machine uses an [Identity]:
//
//	id, err := join.NewIdentity(join.IdentityConfig{Credentials: cred, URL: "https://cloud.example", Dir: dir})
//	...
//	dialer, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://cloud.example", TLS: id.TLS()})
//	...
//	err = id.Run(ctx) // renews, until ctx ends
//
// # Approval
//
// With [HandlerConfig.ApproveAll], or by [Record.Approve], a join waits until an operator
// approves it. The token is checked and used up, and the name is claimed, before the machine
// waits: so a token makes one waiting machine, a name has one, and who has no token changes
// nothing and learns nothing. The cloud answers [ErrPending]; [JoinWhenApproved] asks again, with
// the same key, for which the approval is, also when the token is over. A machine that is denied
// gets [ErrDenied], and its key is revoked.
//
// # What is renewed, and when
//
//   - The node's certificate (90 days, or what [HandlerConfig.Life] and [Lives] say): at two
//     thirds of its life, or when the cloud's answer says (RenewAt), and within half
//     a day when its authority no longer signs, with a new key. The present session
//     goes on; the next connection shows the new certificate.
//   - The server's certificate (a year): at two thirds of its life, and when the
//     authority changes, by the Keyring, with a new key that is never on disk.
//   - The authority (ten years): by an operator, in the stages of [Authorities].
//     Nodes ask twice a day which authorities to trust, and when a server shows
//     one that they do not know.
//
// A node that slept for longer renews with its old key, for as long after its
// certificate's end as [HandlerConfig.Grace] says; then it has to join again. A renewal
// shows the old certificate in the request and signs the request with its key; it needs
// no client certificate in TLS, which would turn an expired one away. It is for the same
// name, and for a new key, which signs the request too; a node or a cloud of an older
// version renews the same key. The old key stays good until the new one was used, so that
// an answer may be lost; then a copy of it, on a stolen disk or in a backup, is
// worthless.
//
// A node that slept through a whole rotation comes back too: a new authority is published
// with a bridge, its certificate signed by the authority before, and servers show all
// bridges that were not forgotten. Two things prevent that: an authority that the
// operator has forgotten, and one that has expired. And an authority that forbids others
// below itself (pathlen 0, for example one that was issued elsewhere) can sign no bridge.
//
// # What is taken away
//
// A key is revoked, not a name or a certificate. So all certificates that were ever
// issued for the key are worthless, and the same machine, or another one, may have the
// name with a new key. A [Guard] in front of a hub.Directory turns such keys away on
// every transport and ends their sessions at once; the Handler refuses their renewals and
// joins. To free a name is less: the key that had the name can no longer use it, but may
// join under another name.
//
// # Time
//
// A machine without a clock battery starts in 1970. A [Clock] gives the system's time, or
// the latest time that signed certificates prove to have passed, whichever is later. It
// never stores the system's time, which may be wrong by a century and be corrected a
// minute later. A machine whose clock says 2100 gets an [ErrClock]: if it accepted an
// expired certificate, it would also accept one whose key was stolen.
//
// # Errors and bounds
//
// Failures are the sentinel errors of this package, in the cloud and at the edge alike,
// since they cross the wire: branch on them with errors.Is; each says what to do.
// Requests are at most 16 KiB and must arrive within 15 s, at most 64 use the stores at
// once, and an address that fails too often must wait; the table of addresses has a fixed
// size. Files are written under another name, synced and renamed, so a full disk leaves
// the earlier file as it was.
//
// All types may be used by several goroutines at once unless they say
// otherwise. The paths and JSON fields are an interface to nodes of other
// versions and keep their meaning.
package join
