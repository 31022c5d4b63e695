// Package wot reads W3C Web of Things Thing Descriptions (1.1) as the model and spec of a
// device, and writes them.
//
//	thing, err := wot.Decode(td)
//	for _, loss := range thing.Lost { fmt.Println(loss) }
//
// # What becomes what
//
//	property           property of the model: type, unit, minimum, maximum, readOnly
//	action             method of the device, with the properties that its input names
//	event              read-only property that is reported with each notification
//	form               visitor of the property; base and address become protocol.configData
//	securityDefinition nothing: credentials are for the mapper, as a secretRef
//
// integer is INT, number DOUBLE, boolean BOOLEAN, string STRING, or BYTES if it is base64.
// Objects and arrays are STRING with JSON text. Forms are understood for http and https, for
// modbus+tcp, and for mqtt and mqtts; visitors are those of examples/mappers. A device has one
// protocol: the one that most of its properties have. What has no place in the other form is
// in Thing.Lost, by its path: a user must decide about it.
//
// Decode allocates at most 20 bytes for each byte of its input. All functions may be called by
// several goroutines at once. The package does no I/O.
package wot
