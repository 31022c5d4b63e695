package main

import (
	"os"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/examples/mappers/internal/program"
)

func main() {
	os.Exit(program.Main("modbus", newDrivers()))
}

// newDrivers makes the drivers of one program: they share their lines.
func newDrivers() func() device.Driver {
	lines := newLines()
	return func() device.Driver { return &driver{lines: lines} }
}
