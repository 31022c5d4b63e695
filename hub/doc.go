// Package hub is the link between a cloud and many machines at the edge. It
// knows nothing of Kubernetes, MQTT or disks.
//
// # Guided tour
//
// An edge runs a [Client], the cloud a [Server]. The edge dials, through a
// [Dialer]; the cloud accepts, through a [Listener]; both get a [Conn], an
// authenticated connection that carries many streams. Transports are one folder
// down: quicconn (QUIC), wsconn (WebSocket over TLS), memconn (within one program).
// A [Racer] is a Dialer that uses whichever of them gets through.
//
// [Source] is the interface of whoever owns state, [Sink] of whoever receives it. [Outbox]
// and [Inbox] are the same for events. In the cloud a [Directory] decides which node may
// connect, and returns the Source, Sink, Outbox and Inbox of that node. A [Mux] routes calls
// and streams, in both directions, to a handler for each resource.
//
// A client in a few lines:
//
//	c, err := hub.NewClient(hub.ClientConfig{Dialer: d, Node: "edge-1", Down: sink, Up: source})
//	...
//	err = c.Run(ctx) // until ctx ends, or the server refuses this node for good
//
// And a server:
//
//	s, err := hub.NewServer(hub.ServerConfig{Listener: l, Directory: directory})
//	...
//	err = s.Run(ctx) // until ctx ends; then it tells the nodes to connect elsewhere
//
// Where the endpoints themselves need the Client or Server, for example to make
// calls, construct it first and give them to [Client.Serve] or [Server.Serve]. Both
// ways exist, as ListenAndServe and Serve of net/http do: most programs know their
// endpoints first and pass one Config to one Run(ctx), which is the lifecycle of every
// type here, and only a program with a circle needs the second. Serve returns an error
// when the Config has endpoints too, so that none is ignored.
//
// The program examples/two-programs is both ends over QUIC and WebSocket, with
// join. Package join hands certificates to nodes that show a token, and renews
// them. Package memstate has a Source and a Sink in memory. Package hubtest has
// fakes of all interfaces, and suites that check one's own implementations.
//
// # What a Source and a Sink must do
//
// The session does the following for each direction of state, in this order. Each step says
// what you must implement.
//
//  1. The session calls Subscribe on the Source. From now on the Source calls
//     changed(key) after each change, and never while it holds a lock that its
//     other methods take. A call too many costs one Load; a call too few loses a
//     change until the next session.
//  2. The session calls Versions on the Sink and sends a digest of it. The Sink lists
//     every key that it holds with the version that it was given, byte for byte.
//  3. On the digest of the peer the session calls Versions on the Source. The Source
//     lists every key that the peer must hold. If the digests are equal, step 5
//     follows; an [Acker] is told that all is delivered.
//  4. Otherwise the Sink is listed once more, and its list travels. For every key
//     that differs, and every key that only one of the two has, step 5 begins.
//     Source.Compare decides what differs, so it must be an order: empty oldest,
//     growing with each change, also over restarts and restores.
//  5. For each key that differs or was changed, the session calls Load on the Source,
//     for several keys at once. The Source returns the newest object it knows; Deleted
//     only when that is certain; [ErrLagging] when its view may be older than what
//     the peer holds; any other error to be asked again later. The session sends it,
//     within the peer's window. An Acker gives a deletion a version; Deleted with
//     no version says that it has forgotten the key, and nothing is sent.
//  6. The peer's session calls Apply on the Sink with what arrived, in batches. The
//     Sink makes all of them durable or none, then returns nil. Objects of one
//     key come in the owner's order; the last one counts. An object that comes twice
//     has no effect. An error that is final (see [Error]) refuses the object for good;
//     any other error is tried again, at last object by object.
//  7. The session acknowledges, and the owner's session tells an Acker. The Acker may
//     now forget the object, unless it was changed since; it must not forget before.
//
// Steps 5 to 7 repeat for as long as the session stands; a new session begins
// at 1. A program may be killed between any two of them: the digest brings to
// light whatever was not made durable or not acknowledged.
//
// Events are simpler, since nothing is compared: the Inbox lists its marks, the
// session reads the Outbox from there, source by source, sends, appends to the Inbox,
// acknowledges, and calls Acked on the Outbox, which forgets up to that id.
//
// # The classes of delivery
//
//   - State is keyed and the latest version wins, in both directions. When a
//     session begins, both sides compare a digest of what the receiver holds; if
//     it differs from the owner's, the receiver lists its versions, and then only
//     differences travel. They travel in a window of objects and bytes, never one by
//     one, and are acknowledged cumulatively after [Sink.Apply] has made them
//     durable. Ten changes to one key while the link is down arrive as one. Changes
//     to one key arrive in order; there is no order between keys. Each newest version
//     arrives at least once. Objects that wait for a slow link are compressed
//     together: Kubernetes' JSON becomes some eight times smaller. An owner whose view
//     is older than what its peer has never sends that older version, and never takes
//     the absence of a key for a delete: see [Source.Load].
//   - Events are appended and never replaced, in both directions. Those of one
//     source arrive in order, each at least once, and exactly once with an [Inbox]
//     that keeps its marks: when a session begins, the receiver sends, for each
//     source, the id of the last event that it has, and the owner continues after it.
//     They are durable in the sender's [Outbox] until the receiver's write is, travel
//     in a window of their own, and are acknowledged cumulatively. The Outbox is
//     bounded and documents what it does when it is full. A source that the receiver
//     cannot take now does not hold up the others.
//   - A call ([Client.Call], [Server.Call]) is a question with an answer, a
//     deadline and a cancel that reaches the handler. It is sent at most once:
//     after [ErrOffline] it was not sent, after [ErrInterrupted] the peer may have
//     acted on it.
//   - A stream ([Client.OpenStream], [Server.OpenStream]) is bytes in both
//     directions with flow control of its own, ended by the handler's status.
//     One that is stuck delays no other.
//
// # Sessions
//
// A node has at most one session. Each has an epoch that grows; a newer session
// fences the older, and the late end of the older changes nothing. A new session
// of the same program replaces the old one silently. A session of another program
// with the same identity takes the node over. The program that lost is told, even
// if it only asks later: it continues without a session ([Client.Fenced]) and asks
// every few minutes whether the node is free. It never ends the other's session,
// and gets one once nobody has had the node for [ServerConfig.ReleaseAfter]. So
// two programs with one identity never fight. [Node.Duplicate] reports both to the
// cloud.
//
// The edge pings an idle link, the cloud answers, and each side gives the link
// up when nothing at all arrived for too long: twice the interval, or the
// interval and 15 seconds if that is less. Reconnects back off with full
// jitter, and later if the server said so. The functions [ClientConfig.Connected]
// and [Node.Connected] get an [Info] when a session begins and when it has ended,
// in this order and never for two sessions of a node at once.
//
// # Many nodes, several servers
//
// A [Server] starts [ServerConfig.HandshakeRate] handshakes a second. A few
// connections wait; the others are told when to come back, each at its own time,
// so that many nodes that lost one server return spread out. More nodes than
// [ServerConfig.MaxNodes] are refused with CodeExhausted. The calls to Sources,
// Sinks, Outboxes and Inboxes share a limit round robin, so that a busy node
// does not delay another. When Run ends it tells the nodes to connect elsewhere,
// spread over [ServerConfig.Drain]. [Server.Disconnect] ends a session at once.
//
// Several servers of one cloud share a [Claim] on each node through [Node.Claim];
// a server that lost a node learns it by [Server.Supersede].
//
// [Server.Stats] and [Client.Stats] count all of it; package metrics below hub
// shows them to Prometheus.
//
// # Errors
//
// What a handler returns crosses the wire as an [*Error] with a [Code].
// [ErrOffline], [ErrInterrupted], [ErrTooLarge] and [ErrProtocol] are of this
// side. A peer that exceeds the [Limits] it was told, or does not keep to the
// protocol, loses its session; memory is bounded by what it really sent.
//
// # What goes wrong
//
// Bad input is normal. Each kind of it is counted, is logged, costs its own
// connection at most, and is in a test:
//
//	what                             counted in Stats        the edge's Run, and the log
//	garbage before a hello           HandshakeGarbage        "connection without a handshake"
//	a handshake never finished       HandshakeLost           "connection without a handshake"
//	no version in common             HandshakeVersion        *RefusedError: update the older of the two
//	another node's name              HandshakeIdentity       *RefusedError
//	a certificate refused            HandshakeRefused        CertificateError: join again; expired: tries again
//	a server that is not trusted     HandshakeCertificate    tries again; the log says what to check
//	a clock that is years off        the two above           tries again; "set the clock", "check both clocks"
//	two programs, one node           EndFenced               goes on without the link; "has taken this node over"
//	frames too large or broken       EndViolation            *RefusedError: this program does not speak the protocol
//	frames out of order, a flood     EndViolation            ErrProtocol; the edge connects again
//	an object over Limits.MaxFrame   DropTooLarge            ErrTooLarge; the others travel on
//	a full disk under an Outbox      Retried                 tries again while the link stays
//	a full disk under a Sink, Inbox  Retried                 tries again; not acknowledged meanwhile
//
// # Concurrency
//
// Client, Server and Mux may be used by many goroutines at once, and call
// handlers, Sources and Sinks from goroutines of their own; Run returns when
// all of them have ended, and a second Run returns [ErrStarted]. A session at
// rest costs one goroutine besides those of its transport. The decisions (windows,
// retries, digests, ownership, keepalive) are pure machines in internal/replica,
// tested against the conversations in its testdata; hub.proto documents the wire,
// and a test compares it with the codec in internal/wire. A model drives two real
// peers from a seed, with cuts, failures, frames that come late or twice, and
// deaths at every effect, see "make model".
//
// # Stability
//
// The wire is versioned and negotiated: what only one side can do is not used,
// and unknown fields and frames are skipped. Peers two minor releases back work;
// testdata/peers has what they sent.
package hub
