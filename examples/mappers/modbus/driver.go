package main

import (
	"context"
	"fmt"

	"github.com/simonvetter/modbus"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// driver is the device.Driver of one Modbus slave. It hands over registers as they are; the
// SDK makes values of them.
type driver struct {
	lines *lines

	line   *line
	slave  uint8
	gap    int
	points device.Visitors[point]
}

var (
	_ device.RawDriver   = (*driver)(nil)
	_ device.BatchReader = (*driver)(nil)
)

// Open reads the settings and connects the line, unless another slave has done so.
func (d *driver) Open(ctx context.Context, dev device.Instance) error {
	c, s, err := newConnection(dev)
	if err != nil {
		return err
	}
	d.slave, d.gap = uint8(c.SlaveID), c.Gap
	d.points = device.NewVisitors(dev, func(p schema.Property) (point, error) { return newPoint(&dev, p) })
	d.line = d.lines.take(s)
	if err := d.line.do(ctx, d.slave, func(*modbus.ModbusClient) error { return nil }); err != nil {
		_ = d.lines.give(d.line) // err says what is wrong
		return err
	}
	return nil
}

// ReadMany reads properties with as few requests as possible. When the slave does not answer
// one, the rest is not tried.
func (d *driver) ReadMany(ctx context.Context, properties []string) (map[string]device.Reading, error) {
	points, readings := make(map[string]point, len(properties)), make(map[string]device.Reading, len(properties))
	for _, name := range properties {
		if p, err := d.points.Of(name); err != nil {
			readings[name] = device.Reading{Err: err}
		} else {
			points[name] = p
		}
	}
	answered := false
	for _, b := range coalesce(points, d.gap) {
		err := d.readBlock(ctx, b, points, readings)
		if isException(err) && len(b.points) > 1 {
			// The slave refuses the whole for one part that it does not have.
			for _, name := range b.points {
				p := points[name]
				err = d.readBlock(ctx, block{table: p.table, address: p.address, count: p.count, points: []string{name}}, points, readings)
				if err != nil && !isException(err) {
					break
				}
			}
		}
		if err != nil && !isException(err) {
			if !answered {
				return nil, err
			}
			break
		}
		answered = true
	}
	return readings, nil
}

// readBlock makes one request. An exception is the reading of its properties too.
func (d *driver) readBlock(ctx context.Context, b block, points map[string]point, readings map[string]device.Reading) error {
	read := make(chan []byte, 1) // not a variable: a request that nobody waits for may end later
	err := d.line.do(ctx, d.slave, func(c *modbus.ModbusClient) error {
		raw, err := b.read(c)
		read <- raw
		return err
	})
	if err != nil {
		for _, name := range b.points {
			readings[name] = device.Reading{Err: err}
		}
		return err
	}
	raw, width := <-read, b.table.width()
	if len(raw) < b.count*width {
		return fmt.Errorf("the slave answered %d bytes, want %d", len(raw), b.count*width)
	}
	for _, name := range b.points {
		p := points[name]
		from := (p.address - b.address) * width
		readings[name] = device.Reading{Raw: raw[from : from+p.count*width]}
	}
	return nil
}

// read makes the request of a block: a byte for each bit, two for each register.
func (b block) read(c *modbus.ModbusClient) ([]byte, error) {
	address, count := uint16(b.address), uint16(b.count)
	var bits []bool
	var err error
	switch b.table {
	case inputRegisters:
		return c.ReadRawBytes(address, 2*count, modbus.INPUT_REGISTER)
	case holdingRegisters:
		return c.ReadRawBytes(address, 2*count, modbus.HOLDING_REGISTER)
	case coils:
		bits, err = c.ReadCoils(address, count)
	case discreteInputs:
		bits, err = c.ReadDiscreteInputs(address, count)
	}
	raw := make([]byte, len(bits))
	for n, on := range bits {
		if on {
			raw[n] = 1
		}
	}
	return raw, err
}

// ReadRaw reads one property.
func (d *driver) ReadRaw(ctx context.Context, property string) ([]byte, error) {
	r, err := device.ReadOne(ctx, d, property)
	return r.Raw, err
}

// WriteRaw sets a coil or holding registers.
func (d *driver) WriteRaw(ctx context.Context, property string, raw []byte) error {
	p, err := d.points.Of(property)
	if err != nil {
		return err
	}
	switch {
	case p.table != coils && p.table != holdingRegisters:
		return fmt.Errorf("property %s: a slave's inputs cannot be written: set accessMode ReadOnly in the model, or another register", property)
	case len(raw) != 2*p.count:
		return fmt.Errorf("property %s: the value has %d bytes, its registers have %d: set transform.rawType or limit", property, len(raw), 2*p.count)
	}
	return d.line.do(ctx, d.slave, func(c *modbus.ModbusClient) error {
		address, value := uint16(p.address), uint16(raw[0])<<8|uint16(raw[1])
		switch {
		case p.table == coils:
			return c.WriteCoil(address, value != 0)
		case len(raw) == 2: // function 6: some slaves have no function 16
			return c.WriteRegister(address, value)
		}
		return c.WriteRawBytes(address, raw)
	})
}

// Read reads one property and makes its value, as the SDK does after ReadMany.
func (d *driver) Read(ctx context.Context, property string) (string, error) {
	p, err := d.points.Of(property)
	if err != nil {
		return "", err
	}
	raw, err := d.ReadRaw(ctx, property)
	if err != nil {
		return "", err
	}
	return p.transform.Decode(raw)
}

// Write is the inverse of Read, as the SDK does it before WriteRaw.
func (d *driver) Write(ctx context.Context, property, value string) error {
	p, err := d.points.Of(property)
	if err != nil {
		return err
	}
	raw, err := p.transform.Encode(value, nil)
	if err != nil {
		return err
	}
	return d.WriteRaw(ctx, property, raw)
}

// Close gives the line back.
func (d *driver) Close() error { return d.lines.give(d.line) }
