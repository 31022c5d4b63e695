// Package access says who may use the MQTT broker of a node, and what each user may do with
// which topic: a broker.Access from two files, certificates and tokens.
//
//	a, err := access.Open(access.Config{Users: "/etc/edgekit/mqtt-users", Rules: "/etc/edgekit/mqtt-rules.yaml", Anonymous: true})
//	...
//	b, err := broker.New(broker.Config{Access: a, TLS: a.TLS()})
//	...
//	go a.Run(ctx) // reads files again that change
//
// # Users
//
// A client is one of these:
//
//   - the user that its TLS certificate names, if Config.ClientCA signed it: by its common
//     name, or by its first alternative name (DNS, mail, URI) if that is empty. The user name
//     in CONNECT does not count then;
//   - a user of the file Config.Users with the right password. The file is that of
//     mosquitto_passwd (name:$7$rounds$salt$hash, PBKDF2 with SHA-512); Hash makes a line;
//   - a service account, if Config.Token accepts the password, whatever the user name is;
//   - the anonymous user: a client without user name on this machine (loopback or unix
//     socket), if Config.Anonymous. If there is no users file, a user name and password
//     that nobody can check count as none there.
//
// Everyone else is refused. The broker binds a session to its user, so nobody can take over
// the client identifier of another user. A client identifier that is the name of a user, or
// that a rule lists in clientIDs, is only for that user, also while nobody has it.
//
// # Rules
//
// The file Config.Rules is YAML:
//
//	users:
//	- name: modbus-mapper              # a user; * at the end stands for any rest
//	  role: mapper                     # mapper, app, admin or none
//	  protocols: [modbus]              # the devices with these protocols, and
//	  devices: [plant/pump-*]          # these; * at the end of a part stands for any rest
//	  clientIDs: [modbus-*]            # only this user may have these client identifiers
//	- name: dashboard
//	  role: app
//	  read: ["*/*"]                    # reads these devices
//	  devices: [plant/lamp]            # reads and sets these
//	  publish: [ui/#]                  # other topics, as filters of MQTT
//	  subscribe: [ui/#, alarms/+]
//	- name: system:serviceaccount:plant:* # pods of the namespace plant
//	  role: app
//	  devices: [plant/*]
//	- name: anonymous                  # clients without a user on this machine
//	  role: none
//
// The rule with the user's own name counts, or else the one with the longest beginning. Who
// has no rule:
//
//   - a service account is an app for the devices of its namespace, and has the topics
//     that begin with the namespace, NAMESPACE/#;
//   - the anonymous user is a mapper for all devices and has all other topics, so that
//     mappers and apps on the host run as with any broker;
//   - every other user has the same rights as the anonymous one if there is no rules file. With
//     one, it is refused.
//
// What a role may do with the topics of devices:
//
//	topic                                          mapper      app          nobody
//	device/D twin/update, method/call              publish     publish (devices)
//	device/D twin/get, state/get, twin/history     publish     publish
//	device/D state/update, state/conditions,       publish
//	  method/call/result
//	device/D twin/cloud_updated, any result,                                publish
//	  delta, document, updated
//	device/D, all topics                           receive     receive
//	node/N membership/get and its result           both        both, if it may read */*
//	node/N membership/detail and its result        both (see below)
//	node/N membership/updated                      receive (see below)
//	node/N membership/protocol/P/detail, updated   the same, of its protocols
//	node/N membership/protocol/P/claim             both, of its protocols
//	node/N proposed/P                              publish, of its protocols; receive
//	node/N upgrade/request, upgrade/result         receive, if a rule names the topic in subscribe
//	node/N upgrade/confirm                         publish, if a rule names the topic in publish
//	connected/N, disconnected/N                    receive     receive
//	$ke/events/device/D/data/update                both        receive
//
// D is one of its devices. An admin has all devices and all topics, except those in the
// column nobody: these are edgecore's own, which publishes without a socket. The messages
// membership/detail/result and membership/updated have the devices' specs, with the
// credentials for their protocols, of all devices of the node. So only mappers get them, and
// of those only the ones that are not bound to protocols: a mapper whose rule names protocols,
// and not all devices (*/*), gets the same messages with the devices of its protocols, on
// membership/protocol/P/detail/result and membership/protocol/P/updated. A mapper that is
// to see no credentials of others therefore needs protocols in its rule; devices alone do not
// bind it. The topics of upgrades are for admins, and for users whose rule names them, for
// example publish: [$hw/events/node/+/upgrade/confirm] for a program at the site that decides
// when the node is upgraded. Who has no rule sees upgrades and confirms none. All else below
// $hw/ is for nobody, except $hw/events/upload/#, which publish and subscribe may name as any
// other topic.
//
// An app that may set a device may also publish a reported value for it: a rule sees
// topics and no payloads.
//
// A subscription with wildcards is granted, and brings only what the user may receive, also
// what was retained. One to a single topic that it may not receive is refused.
//
// # Reload
//
// Run looks at the files every few seconds. A file with an error is logged once with its
// line, and what was read before stays. Changed rules count for the next message. A broker
// that knows broker.Revoker ends open connections whose login would be refused now, MQTT 5
// clients with the reason 0x87: a user who was removed, has another password, has no rule any
// more or not this client identifier, and a certificate of an authority that was removed.
// A service account token is checked at login, and by Run each minute: its connections end when
// its pod was deleted, not when it expires.
//
// # Bounds
//
// Few passwords and tokens are checked at once, a wrong one is not checked twice within ten
// seconds, and an address that sends wrong ones has to wait. Files are bounded: 2 MiB and
// 10,000 users, 128 KiB of rules.
//
// # Concurrency
//
// Methods of an Access may be called by several goroutines at once. Allow allocates nothing
// and takes no lock, except that of Config.Protocol.
package access
