// Command dmi-stranger is a mapper that knows nothing of edgekit: it was written from dmi.proto
// alone, with the code that protoc generates and gRPC. Its devices are made up: each property
// has at once what is desired of it, and reports that every second.
//
//	edgecore --dmi-listen=unix:///etc/kubeedge/dmi.sock
//	dmi-stranger --protocol=made-up
//
// The tests run it against edgecore's end of DMI, as a process of its own, and kill both in
// any order.
package main

//go:generate go run ./internal/generate ../../../device/dmi/v1beta1/dmi.proto dmi
