package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// table is one of the four tables of a Modbus device.
type table int

// The four tables.
const (
	coils table = iota
	discreteInputs
	inputRegisters
	holdingRegisters
)

// tables has the names that visitors use for the tables, in lower case: KubeEdge's, and those
// of the Modbus specification.
func tables(name string) (table, bool) {
	switch strings.ToLower(name) {
	case "coilregister", "coil":
		return coils, true
	case "discreteinputregister", "discreteinput":
		return discreteInputs, true
	case "inputregister":
		return inputRegisters, true
	case "holdingregister":
		return holdingRegisters, true
	}
	return 0, false
}

// bits reports whether an item of the table is one bit.
func (t table) bits() bool { return t == coils || t == discreteInputs }

// most is how many items one request may read: section 6 of the Modbus application protocol
// V1.1b3.
func (t table) most() int {
	if t.bits() {
		return 2000
	}
	return 125
}

// point is where the value of a property is.
type point struct {
	table   table
	address int
	count   int // registers; 1 for a bit
	// transform makes the value. The SDK has its own; this one is for Read and Write.
	transform *device.Transform
}

// width is the bytes that an item has when it is handed over.
func (t table) width() int {
	if t.bits() {
		return 1
	}
	return 2
}

// newPoint reads the visitors.configData of a property.
func newPoint(dev *device.Instance, p schema.Property) (point, error) {
	visitor := struct {
		Register string
		Offset   int
		Limit    int
	}{}
	if p.Visitors == nil {
		return point{}, fmt.Errorf("property %s: visitors.configData is missing: set register and offset", p.Name)
	}
	if err := p.Visitors.Config.Decode(&visitor); err != nil {
		return point{}, fmt.Errorf("property %s: visitors.configData: %w", p.Name, err)
	}
	t, ok := tables(visitor.Register)
	if !ok {
		return point{}, fmt.Errorf("property %s: register is %q: set CoilRegister, DiscreteInputRegister, InputRegister or HoldingRegister", p.Name, visitor.Register)
	}
	if visitor.Limit < 1 || visitor.Limit > 125 || t.bits() && visitor.Limit != 1 {
		return point{}, fmt.Errorf("property %s: limit is %d: set 1 for a bit, 1 to 125 for registers", p.Name, visitor.Limit)
	}
	if visitor.Offset < 0 || visitor.Offset+visitor.Limit > 1<<16 {
		return point{}, fmt.Errorf("property %s: offset is %d: set 0 to %d", p.Name, visitor.Offset, 1<<16-visitor.Limit)
	}
	transform, err := device.NewTransform(dev.Model.Property(p.Name), p.Visitors)
	if err != nil {
		return point{}, fmt.Errorf("property %s: %w", p.Name, err)
	}
	return point{table: t, address: visitor.Offset, count: visitor.Limit, transform: transform}, nil
}

// block is one request to read: count items of a table, with the points that are in it.
type block struct {
	table   table
	address int
	count   int
	points  []string
}

// coalesce plans the requests that read the points: as few as possible, none larger than the
// protocol allows. Points in one request have no more than gap unused items between them.
func coalesce(points map[string]point, gap int) []block {
	names := make([]string, 0, len(points))
	for name := range points {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := points[a], points[b]
		return cmp.Or(cmp.Compare(x.table, y.table), cmp.Compare(x.address, y.address), cmp.Compare(x.count, y.count), strings.Compare(a, b))
	})
	var blocks []block
	for _, name := range names {
		p := points[name]
		if n := len(blocks) - 1; n >= 0 {
			last := &blocks[n]
			end := last.address + last.count
			count := max(end, p.address+p.count) - last.address
			if last.table == p.table && p.address <= end+gap && count <= p.table.most() {
				last.count, last.points = count, append(last.points, name)
				continue
			}
		}
		blocks = append(blocks, block{table: p.table, address: p.address, count: p.count, points: []string{name}})
	}
	return blocks
}
