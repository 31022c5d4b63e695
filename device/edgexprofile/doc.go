// Package edgexprofile reads device profiles of EdgeX Foundry (v2 to v4) as the model of a
// device.
//
//	profile, err := edgexprofile.Decode(text)
//	for _, loss := range profile.Lost { fmt.Println(loss) }
//
// # What becomes what
//
//	deviceResource              property of the model: type, access, units, minimum, maximum
//	scale, offset, mask, shift  the property's transform
//	attributes                  visitor of the property; those of device-modbus in the fields
//	                            of examples/mappers/modbus, all others as they are
//	deviceCommand               method of a device, with the properties of its operations;
//	                            the mappings of an operation go to the property's transform
//
// Integer types are INT, Float32 is FLOAT and Float64 DOUBLE, Bool is BOOLEAN, String STRING,
// Binary BYTES; Object and arrays are STRING with JSON text. What has no place in a model is in
// Profile.Lost, by its path: a user must decide about it.
//
// A profile is YAML or JSON. Decode allocates at most 20 bytes for each byte of JSON. YAML
// costs more, so that a file of it may have 1 MiB; do not give Decode YAML from the network. All
// functions may be called by several goroutines at once. The package does no I/O.
package edgexprofile
