package main

import (
	"os"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/examples/mappers/internal/program"
)

func main() {
	os.Exit(program.Main(config()))
}

// config is the mapper without its link. Its drivers share their lines.
func config() device.Config {
	lines := newLines()
	return device.Config{
		Protocol:   "modbus",
		New:        func() device.Driver { return &driver{lines: lines} },
		Connection: lineOf,
	}
}
