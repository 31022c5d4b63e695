package main

import (
	"os"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/examples/mappers/internal/program"
)

func main() {
	os.Exit(program.Main("snmp", func() device.Driver { return new(driver) }))
}
