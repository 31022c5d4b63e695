package edgexprofile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// visitor makes the visitor of a property.
func (d *decoder) visitor(path string, p *schema.ModelProperty, attributes map[string]json.RawMessage, raw schema.RawType) {
	if len(attributes) == 0 {
		return
	}
	if _, ok := attributes["primaryTable"]; ok {
		d.modbus(path, p, attributes, raw)
		return
	}
	config, err := schema.NewOptions(attributes)
	if err != nil {
		d.lose(path, err.Error())
		return
	}
	p.Visitors = &schema.Visitor{Config: config}
	d.lose(path, "are kept as they are: name the protocol, and the fields as its mapper has them")
}

// modbus makes the visitor of examples/mappers/modbus from the attributes of EdgeX's
// device-modbus.
func (d *decoder) modbus(path string, p *schema.ModelProperty, attributes map[string]json.RawMessage, raw schema.RawType) {
	var a struct {
		PrimaryTable    string `json:"primaryTable"`
		StartingAddress number `json:"startingAddress"`
		RawType         string `json:"rawType"`
		ByteSwap        any    `json:"isByteSwap"`
		WordSwap        any    `json:"isWordSwap"`
		StringSize      number `json:"stringRegisterSize"`
	}
	text, err := json.Marshal(attributes)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		d.lose(path, err.Error())
		return
	}
	registers := map[string]string{
		"COILS": "CoilRegister", "DISCRETES_INPUT": "DiscreteInputRegister",
		"INPUT_REGISTERS": "InputRegister", "HOLDING_REGISTERS": "HoldingRegister",
	}
	register := registers[strings.ToUpper(a.PrimaryTable)]
	if register == "" {
		d.lose(path+".primaryTable", fmt.Sprintf("%.40q is not known: write the visitor by hand", a.PrimaryTable))
		return
	}
	if a.RawType != "" {
		raw = schema.RawType(strings.ToUpper(a.RawType))
	}
	limit := 1
	bits := register == "CoilRegister" || register == "DiscreteInputRegister"
	switch {
	case bits:
	case strings.HasSuffix(string(raw), "32"):
		limit = 2
	case strings.HasSuffix(string(raw), "64"):
		limit = 4
	case a.StringSize != "":
		if n := d.bound(path+".stringRegisterSize", schema.TypeInt, a.StringSize); n != "" {
			_, _ = fmt.Sscan(n, &limit) // bound has made it a whole number
		}
	}
	offset := d.bound(path+".startingAddress", schema.TypeInt, a.StartingAddress)
	if offset == "" {
		offset = "0"
	}
	config, err := schema.NewOptions(map[string]any{"register": register, "offset": json.Number(offset), "limit": limit})
	if err != nil {
		d.lose(path, err.Error())
		return
	}
	p.Visitors = &schema.Visitor{ProtocolName: "modbus", Config: config}
	d.out.Model.Protocol = "modbus"
	if bits {
		return
	}
	if p.Transform == nil {
		p.Transform = new(schema.Transform)
	}
	if isRaw(raw) && p.Type != schema.TypeString && p.Type != schema.TypeBytes {
		p.Transform.RawType = raw
	}
	if isTrue(a.ByteSwap) {
		p.Transform.ByteOrder = schema.LittleEndian
	}
	if isTrue(a.WordSwap) {
		p.Transform.WordOrder = schema.LittleEndian
	}
	if t := p.Transform; t.RawType == "" && t.ByteOrder == "" && t.WordOrder == "" && t.Scale == "" && t.Offset == "" && t.Mask == "" && t.Shift == 0 {
		p.Transform = nil
	}
}

func isTrue(v any) bool { return v == true || v == "true" }

func isRaw(t schema.RawType) bool {
	return slices.Contains([]schema.RawType{
		schema.RawInt8, schema.RawInt16, schema.RawInt32, schema.RawInt64, schema.RawUint8, schema.RawUint16,
		schema.RawUint32, schema.RawUint64, schema.RawFloat32, schema.RawFloat64,
	}, t)
}

// mappings gives the names of an operation's values to the property. EdgeX has them for both
// directions: "0" as "off" for a reading.
func (d *decoder) mappings(path string, p *schema.ModelProperty, mappings map[string]string) error {
	if len(mappings) == 0 {
		return nil
	}
	if err := d.budget.Take(path, 256*len(mappings)); err != nil {
		return fmt.Errorf("edgexprofile: %w", err)
	}
	if p.Transform != nil && len(p.Transform.Mapping) > 0 {
		d.lose(path+".resourceOperations.mappings", "the property "+p.Name+" has mappings of another command")
		return nil
	}
	if p.Transform == nil {
		p.Transform = new(schema.Transform)
	}
	used := make(map[string]bool)
	for _, raw := range slices.Sorted(maps.Keys(mappings)) {
		value := mappings[raw]
		if used[value] || len(raw) > 64 || len(value) > 256 || len(p.Transform.Mapping) == 256 {
			d.lose(path+".resourceOperations.mappings", fmt.Sprintf("%.40q is there twice, or too long, or one too many: it is left out", raw))
			continue
		}
		used[value] = true
		p.Transform.Mapping = append(p.Transform.Mapping, schema.Mapping{Raw: raw, Value: value})
	}
	if p.Type != schema.TypeString {
		d.lose(path+".resourceOperations.mappings", "the property "+p.Name+" becomes STRING: its values are names now")
		p.Type, p.Minimum, p.Maximum = schema.TypeString, "", ""
	}
	return nil
}
