// Package httpapi lets applications on a node read, set and watch devices with plain HTTP and
// JSON. It is a http.Handler on a twin.Engine; the caller brings the listener and says who may
// do what.
//
//	api, err := httpapi.New(httpapi.Config{Engine: engine, Authorize: authorize})
//	...
//	server := http.Server{Handler: api}
//
// # Requests
//
//	GET /twin/v1/devices                                   list; ?namespace= &limit= &after=
//	GET /twin/v1/devices/NAMESPACE/NAME                    a Device
//	GET /twin/v1/devices/NAMESPACE/NAME/properties/NAME    a Property
//	PUT /twin/v1/devices/NAMESPACE/NAME/desired            {"target":"25"}: set desired values
//	GET /twin/v1/devices/NAMESPACE/NAME/history            ?property= &from= &to= &limit= &after=
//	GET /twin/v1/watch                                     server-sent events, see below
//
// All values are text: "21", "21.5", "true". Times are milliseconds since 1970, in answers and
// in from and to. A list or history that is longer than limit has "next": the after of the next
// page.
//
//	DeviceList  {"devices":[Device],"next":"plant/pump"}
//	Device      {"id":"plant/boiler","namespace":"plant","name":"boiler","description":"…",
//	             "state":"online","lastOnline":"2026-08-01T10:00:00Z","properties":{"target":Property}}
//	Property    {"type":"int","desired":{"value":"25","time":1760000000000},
//	             "actual":{"value":"21","time":1760000000000,"quality":"good"},"readOnly":true}
//	History     {"entries":[{"seq":7,"time":1760000000000,"value":"21","fault":"…"}],"next":7}
//	Error       {"code":403,"reason":"…"}
//
// An actual value has "measured" too, if its mapper says when it read the value.
//
// A PUT is carried out whole or refused whole. It answers with the properties that it set, when
// they are durable. An empty value withdraws a desired value. An error has the code of
// twin.Error as its status: 400 for a wrong value or limit, 403 for a property that is
// read-only, 404, 409, 413, 500. 401 and 403 are also those of Authorize, 429 those of the
// limits below.
//
// # Watch
//
// GET /twin/v1/watch gives server-sent events: first the present state, then each change.
//
//	?device=plant/boiler   only this device; may be repeated
//	?namespace=plant       only devices of this namespace
//	?property=target       only this property; may be repeated
//	?every=10s             samples: each property once in that time, the newest value
//	?heartbeat=1m          each property again that was not sent for that time, "repeated":true
//	?equal=false           leave out reports of an equal value
//	?current=false         leave out the present state
//
// Events are
//
//	event: property  {"device":"plant/boiler","property":"target","type":"int","desired":{…},"actual":{…}}
//	event: deleted   {"device":"plant/boiler","property":"target"}
//	event: device    {"device":"plant/boiler","state":"online"}
//	event: removed   {"device":"plant/boiler"}
//
// with "missed" when a slow client got only the newest of several changes. Every 15 s without
// an event there is a comment line. The id of an event is its time. A client that comes back
// with Last-Event-ID gets, of the present state, the devices and the values that changed at or
// after that time. It does not get what was deleted or removed meanwhile: a client that keeps a
// list gets it anew.
//
// # Who may do what
//
// Config.Authorize is asked for each request, and for each device that a list or a watch shows:
// what may not be read is left out there.
//
// # Limits
//
// A body has at most 1 MiB. Each address (Config.Client) has at most Config.MaxRequests requests
// at a time and Config.MaxWatches watches; all together have four times that. A watch that
// cannot be written to for 30 s ends. Connections are bounded by the caller's listener.
//
// # Stability
//
// The JSON forms are added to, not changed. The Go API may change until version 1.
package httpapi
