// Package hub is the link between a cloud and many machines at the edge. It
// knows nothing of Kubernetes, MQTT or disks.
//
// # Guided tour
//
// An edge runs a [Client], the cloud a [Server]. The edge dials, through a
// [Dialer]; the cloud accepts, through a [Listener]; what they get is a [Conn],
// an authenticated connection that carries many streams. Transports are one
// folder down: quicconn (QUIC), wsconn (WebSocket over TLS), memconn (within one
// program). A [Racer] is a Dialer that takes whichever of them gets through.
//
// Whoever has state for the other side implements [Source]; whoever keeps it
// implements [Sink]. [Outbox] and [Inbox] are the same for events. In the cloud
// a [Directory] decides which node may connect and gives each its own of them.
// Calls and streams in both directions are routed by a [Mux] to a handler for
// each resource.
//
// A client in a few lines:
//
//	c, err := hub.NewClient(hub.ClientConfig{Dialer: d, Node: "edge-1", Down: sink, Up: source})
//	...
//	err = c.Run(ctx) // until ctx ends, or the server says never to come back
//
// And a server:
//
//	s, err := hub.NewServer(hub.ServerConfig{Listener: l, Directory: directory})
//	...
//	err = s.Run(ctx) // until ctx ends; then it tells the nodes to move
//
// The example "quic" is a whole program: both ends over QUIC with mutual TLS, with
// certificates made on the spot. Package join hands certificates to nodes that
// show a token, and renews them. Package hubtest has each of the interfaces in
// memory to begin with, and suites to hold one's own implementations to.
//
// # The classes of delivery
//
//   - State is keyed and the latest version wins, in both directions. When a
//     session begins the receiver tells a digest of what it holds; if it
//     differs from the owner's, it lists its versions, and then only
//     differences travel. They travel in a window of objects and bytes, never
//     one by one, and are acknowledged cumulatively after [Sink.Apply] has
//     made them durable. Ten changes to one key while the link is down arrive
//     as one. Changes to one key arrive in order; there is no order between
//     keys. Each newest version arrives at least once. What waits for a slow
//     link is packed: Kubernetes' JSON becomes some eight times smaller. An
//     owner whose view is older than what its peer has never sends that older
//     version, and never takes the absence of a key for its end: see
//     [Source.Load].
//   - Events are appended and never replaced, in both directions. Those of one
//     source arrive in order, each at least once, and once by an [Inbox] that
//     keeps its marks: when a session begins the receiver tells, for each
//     source, the id of the last event that it has, and the owner goes on
//     after it. They are durable in the sender's [Outbox] until the receiver's
//     write is, travel in a window of their own, and are acknowledged
//     cumulatively. The Outbox is bounded and says what it does when it is
//     full. A source that the receiver cannot take now does not hold up the
//     others.
//   - A call ([Client.Call], [Server.Call]) is a question with an answer, a
//     deadline and a cancel that reaches the handler. It is sent at most once:
//     after [ErrOffline] it was not sent, after [ErrInterrupted] it may have
//     been acted on.
//   - A stream ([Client.OpenStream], [Server.OpenStream]) is bytes in both
//     directions with flow control of its own, ended by the handler's status.
//     One that is stuck delays no other.
//
// # Sessions
//
// A node has at most one session. Each has an epoch that grows; a newer
// session fences the older, whose late end changes nothing. A new session of
// the same program replaces the old one silently. One of another program with
// the same identity takes the node over, and the program that lost is told, even
// if it asks only later: it goes on without a session ([Client.Fenced]) and asks
// every few minutes whether the node is free. It never ends the other's session,
// and is let in once nobody has had the node for [ServerConfig.ReleaseAfter]. So
// two programs with one identity never fight. [Node.Duplicate] tells the cloud of
// both.
//
// The edge pings an idle link, the cloud answers, and each side gives the link
// up when nothing at all arrived for too long: twice the interval, or the
// interval and 15 seconds if that is less. Reconnects back off with full
// jitter, and later if the server said so. Each side's [ClientConfig.Connected] and
// [Node.Connected] functions get an [Info] when a session stands and when it
// has ended, in this order and never two sessions of a node at once.
//
// # Many nodes, several servers
//
// A [Server] takes [ServerConfig.HandshakeRate] connections a second. Some wait
// at the door; the others are told when to come back, one after the other, so
// that a herd returns in a line. More nodes than [ServerConfig.MaxNodes] are
// refused with CodeExhausted. What all nodes share, the calls to Sources, Sinks,
// Outboxes and Inboxes, they use in turn, so that a busy one does not delay
// another. When Run ends it tells the nodes to move, spread over
// [ServerConfig.Drain]. [Server.Disconnect] ends a session at once.
//
// Several servers of one cloud share who holds a node through [Node.Claim]; the
// one that lost it hears so by [Server.Supersede].
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
//	frames out of turn, a flood      EndViolation            ErrProtocol; the edge connects again
//	an object over Limits.MaxFrame   DropTooLarge            ErrTooLarge; the others travel on
//	a full disk under an Outbox      Retried                 tries again while the link stays
//	a full disk under a Sink, Inbox  Retried                 tries again; not acknowledged meanwhile
//
// # Concurrency
//
// Client, Server and Mux may be used by many goroutines at once, and call
// handlers, Sources and Sinks from goroutines of their own; Run returns when
// all of them have ended. A session at rest costs one goroutine besides those
// of its transport. The decisions (windows, retries, digests, fencing,
// keepalive) are pure functions of state and event, tested against the
// conversations in testdata; hub.proto documents the wire. A model drives two
// real peers from a seed, with cuts, failures, frames that come late or twice, and
// deaths at every effect, see "make model".
//
// # Stability
//
// The wire is versioned and negotiated: what only one side can do is not used,
// and unknown fields and frames are skipped. Peers two minor releases back work;
// testdata/peers has what they sent.
package hub
