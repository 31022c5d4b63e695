package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/simonvetter/modbus"

	"github.com/edgekit/edgekit/device"
)

// driver is the device.Driver of one Modbus slave.
type driver struct {
	lines *lines

	line   *line
	slave  uint8
	gap    int
	points map[string]point
	bad    map[string]error // properties without a usable visitor
}

// Open reads the settings and connects the line, unless another slave has done so.
func (d *driver) Open(ctx context.Context, dev device.Instance) error {
	var c connection
	if err := dev.Spec.Protocol.Config.Decode(&c); err != nil {
		return err
	}
	s, err := c.settings()
	if err != nil {
		return fmt.Errorf("protocol.configData: %w", err)
	}
	d.slave, d.gap = uint8(c.SlaveID), c.Gap
	d.points, d.bad = make(map[string]point), make(map[string]error)
	for _, p := range dev.Spec.Properties {
		if pt, err := newPoint(&dev, p); err != nil {
			d.bad[p.Name] = err
		} else {
			d.points[p.Name] = pt
		}
	}
	line := d.lines.take(s)
	if err := line.do(ctx, d.slave, func(*modbus.ModbusClient) error { return nil }); err != nil {
		return errors.Join(err, d.lines.give(line))
	}
	d.line = line
	return nil
}

// Read reads one property.
func (d *driver) Read(ctx context.Context, property string) (string, error) {
	values, errs := d.ReadAll(ctx, []string{property})
	return values[property], errs[property]
}

// ReadAll reads many properties with few requests. Each property has a value or an error.
func (d *driver) ReadAll(ctx context.Context, properties []string) (map[string]string, map[string]error) {
	points := make(map[string]point, len(properties))
	values, errs := make(map[string]string, len(properties)), make(map[string]error)
	for _, name := range properties {
		p, err := d.point(name)
		if err != nil {
			errs[name] = err
			continue
		}
		points[name] = p
	}
	for _, b := range coalesce(points, d.gap) {
		err := d.readBlock(ctx, b, points, values, errs)
		if err == nil {
			continue
		}
		if !isException(err) || len(b.points) == 1 {
			for _, name := range b.points {
				errs[name] = err
			}
			continue
		}
		// The slave refuses the whole for one part that it does not have.
		for _, name := range b.points {
			p := points[name]
			one := block{table: p.table, address: p.address, count: p.count, points: []string{name}}
			if err := d.readBlock(ctx, one, points, values, errs); err != nil {
				errs[name] = err
			}
		}
	}
	return values, errs
}

func (d *driver) point(property string) (point, error) {
	if err := d.bad[property]; err != nil {
		return point{}, err
	}
	p, ok := d.points[property]
	if !ok {
		return point{}, fmt.Errorf("the device has no property %q", property)
	}
	return p, nil
}

// readBlock makes one request. It fails when the request does; a value that has no text form
// is that property's error.
func (d *driver) readBlock(ctx context.Context, b block, points map[string]point, values map[string]string, errs map[string]error) error {
	read := make(chan items, 1) // not a variable: a request that nobody waits for may end later
	err := d.line.do(ctx, d.slave, func(c *modbus.ModbusClient) error {
		got, err := b.read(c)
		read <- got
		return err
	})
	if err != nil {
		return err
	}
	got := <-read
	for _, name := range b.points {
		p := points[name]
		value, err := got.text(p, p.address-b.address)
		if err != nil {
			errs[name] = fmt.Errorf("property %s: %w", name, err)
			continue
		}
		values[name] = value
	}
	return nil
}

// read makes the request of a block.
func (b block) read(c *modbus.ModbusClient) (got items, err error) {
	address, count := uint16(b.address), uint16(b.count)
	switch b.table {
	case coils:
		got.bits, err = c.ReadCoils(address, count)
	case discreteInputs:
		got.bits, err = c.ReadDiscreteInputs(address, count)
	case inputRegisters:
		got.registers, err = c.ReadRawBytes(address, 2*count, modbus.INPUT_REGISTER)
	case holdingRegisters:
		got.registers, err = c.ReadRawBytes(address, 2*count, modbus.HOLDING_REGISTER)
	}
	return got, err
}

// Write sets a coil or holding registers.
func (d *driver) Write(ctx context.Context, property, value string) error {
	p, err := d.point(property)
	if err != nil {
		return err
	}
	switch p.table {
	case coils:
		on, err := parseBit(value)
		if err != nil {
			return fmt.Errorf("property %s: %w", property, err)
		}
		return d.line.do(ctx, d.slave, func(c *modbus.ModbusClient) error { return c.WriteCoil(uint16(p.address), on) })
	case holdingRegisters:
		raw, err := p.encode(value)
		if err != nil {
			return fmt.Errorf("property %s: %w", property, err)
		}
		return d.line.do(ctx, d.slave, func(c *modbus.ModbusClient) error {
			if len(raw) == 2 { // function 6: some slaves have no function 16
				return c.WriteRegister(uint16(p.address), uint16(raw[0])<<8|uint16(raw[1]))
			}
			return c.WriteRawBytes(uint16(p.address), raw)
		})
	}
	return fmt.Errorf("property %s: a slave's inputs cannot be written: set accessMode ReadOnly in the model, or another register", property)
}

// Close gives the line back.
func (d *driver) Close() error { return d.lines.give(d.line) }
