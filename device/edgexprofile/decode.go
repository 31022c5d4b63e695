package edgexprofile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/device/internal/names"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Profile is a device profile as edgekit has it.
type Profile struct {
	Name   string                 // for the DeviceModel, by Kubernetes' rules
	Model  schema.DeviceModelSpec // with visitors
	Device schema.DeviceSpec      // of one device of the model, without an address
	Lost   []Loss                 // what has no place in Model and Device; the first 100
}

// Loss is a part that could not be taken over.
type Loss struct {
	Path   string // of the part, for example deviceResources.status.properties.assertion
	Reason string // why, and what to do
}

// String is the loss as one line.
func (l Loss) String() string { return l.Path + ": " + l.Reason }

// The bounds of what is read, and of the losses that are listed.
const (
	maxJSON       = 4 << 20 // bytes
	maxYAML       = 1 << 20
	maxProperties = 1024 // of a Device
	maxLosses     = 100
	propertyCost  = 1024 // bytes that one property takes in model and device together
)

// Decode reads a device profile. The error says what is wrong with it as a whole; the rest is
// in Profile.Lost.
func Decode(text []byte) (Profile, error) {
	isJSON := bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))
	switch {
	case isJSON && len(text) > maxJSON, !isJSON && len(text) > maxYAML:
		return Profile{}, fmt.Errorf("edgexprofile: the profile has %d bytes: at most %d of JSON or %d of YAML are read", len(text), maxJSON, maxYAML)
	}
	if !isJSON {
		var err error
		if text, err = yaml.YAMLToJSON(text); err != nil {
			return Profile{}, fmt.Errorf("edgexprofile: %w", err)
		}
	}
	budget := jsonlimit.NewBudget(len(text))
	var in profile
	if err := budget.Unmarshal(text, &in); err != nil {
		return Profile{}, fmt.Errorf("edgexprofile: %w", err)
	}
	if in.Name == "" || len(in.Resources) == 0 {
		return Profile{}, errors.New("edgexprofile: name or deviceResources is missing: it is no device profile of EdgeX")
	}
	d := decoder{budget: budget}
	d.out.Name = names.Resource("profile", in.Name)
	d.out.Device.ModelRef.Name = d.out.Name
	for _, r := range in.Resources {
		if err := d.resource(r); err != nil {
			return Profile{}, err
		}
	}
	for _, c := range in.Commands {
		if err := d.command(c); err != nil {
			return Profile{}, err
		}
	}
	if len(in.CoreCommands) > 0 {
		d.lose("coreCommands", "is of EdgeX 1: the values are read and written as properties")
	}
	d.out.Device.Protocol.Name = d.out.Model.Protocol
	return d.out, nil
}

// profile is what is read of a device profile.
type profile struct {
	Name         string          `json:"name"`
	Resources    []resource      `json:"deviceResources"`
	Commands     []command       `json:"deviceCommands"`
	CoreCommands json.RawMessage `json:"coreCommands"`
}

type resource struct {
	Name        string                     `json:"name"`
	Description string                     `json:"description"`
	Attributes  map[string]json.RawMessage `json:"attributes"`
	Properties  properties                 `json:"properties"`
}

// properties describe a value. Numbers are text in version 2 and numbers since version 3.
type properties struct {
	ValueType    string          `json:"valueType"`
	ReadWrite    string          `json:"readWrite"`
	Units        string          `json:"units"`
	Minimum      number          `json:"minimum"`
	Maximum      number          `json:"maximum"`
	Scale        number          `json:"scale"`
	Offset       number          `json:"offset"`
	Base         number          `json:"base"`
	Mask         number          `json:"mask"`
	Shift        number          `json:"shift"`
	Assertion    string          `json:"assertion"`
	DefaultValue json.RawMessage `json:"defaultValue"`
	MediaType    string          `json:"mediaType"`
}

type command struct {
	Name       string      `json:"name"`
	Operations []operation `json:"resourceOperations"`
}

type operation struct {
	Resource     string            `json:"deviceResource"`
	DefaultValue json.RawMessage   `json:"defaultValue"`
	Mappings     map[string]string `json:"mappings"`
}

// number is a number, or a text that is one.
type number string

// UnmarshalJSON takes a number, a text or null.
func (n *number) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" || text == "" {
		*n = ""
		return nil
	}
	if _, err := strconv.ParseUint(text, 0, 64); err != nil {
		if _, err := strconv.ParseFloat(text, 64); err != nil || !json.Valid([]byte(strings.TrimPrefix(text, "+"))) {
			return fmt.Errorf("want a number, not %.40q", text)
		}
	}
	*n = number(text)
	return nil
}

// decoder makes a Profile.
type decoder struct {
	budget *jsonlimit.Budget
	out    Profile
}

func (d *decoder) lose(path, reason string) {
	if len(d.out.Lost) < maxLosses {
		d.out.Lost = append(d.out.Lost, Loss{path, reason})
	}
}

// resource adds a property.
func (d *decoder) resource(r resource) error {
	path := "deviceResources." + r.Name
	if err := d.budget.Take(path, propertyCost); err != nil {
		return fmt.Errorf("edgexprofile: %w", err)
	}
	if len(d.out.Model.Properties) == maxProperties {
		return fmt.Errorf("edgexprofile: %s: a Device has at most %d properties", path, maxProperties)
	}
	name := names.Property(r.Name)
	if name != r.Name {
		d.lose(path, "is named "+name+": a property's name has letters, digits and -_.,:/@#, at most 128")
	}
	if d.out.Model.Property(name) != nil {
		d.lose(path, "there is a property of that name: this one is left out")
		return nil
	}
	in := r.Properties
	p := schema.ModelProperty{Name: name, Description: r.Description, Unit: in.Units, AccessMode: schema.ReadOnly}
	var raw schema.RawType
	p.Type, raw = d.valueType(path, in.ValueType)
	if strings.ContainsAny(in.ReadWrite, "Ww") {
		p.AccessMode = schema.ReadWrite
		if !strings.ContainsAny(in.ReadWrite, "Rr") {
			d.lose(path+".properties.readWrite", "a property is always read; a reading of it will fail")
		}
	}
	p.Minimum, p.Maximum = d.bound(path+".properties.minimum", p.Type, in.Minimum), d.bound(path+".properties.maximum", p.Type, in.Maximum)
	d.transform(path+".properties", &p, in)
	d.visitor(path+".attributes", &p, r.Attributes, raw)
	for what, set := range map[string]bool{"assertion": in.Assertion != "", "defaultValue": len(in.DefaultValue) > 0 && string(in.DefaultValue) != `""` && string(in.DefaultValue) != "null", "base": in.Base != "" && in.Base != "0"} {
		if set {
			d.lose(path+".properties."+what, "a model has no such rule")
		}
	}
	d.out.Model.Properties = append(d.out.Model.Properties, p)
	d.out.Device.Properties = append(d.out.Device.Properties, schema.Property{Name: name, ReportToCloud: true})
	return nil
}

// valueType is the type of a property, and how the device represents it.
func (d *decoder) valueType(path, name string) (schema.Type, schema.RawType) {
	switch lower := strings.ToLower(name); lower {
	case "bool":
		return schema.TypeBoolean, ""
	case "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64":
		if lower == "uint64" {
			d.lose(path+".properties.valueType", "INT has 63 bits: larger values are refused")
		}
		return schema.TypeInt, schema.RawType(strings.ToUpper(name))
	case "float32":
		return schema.TypeFloat, schema.RawFloat32
	case "float64":
		return schema.TypeDouble, schema.RawFloat64
	case "string":
		return schema.TypeString, ""
	case "binary":
		return schema.TypeBytes, ""
	}
	d.lose(path+".properties.valueType", fmt.Sprintf("%.40q becomes STRING; objects and arrays are JSON text", name))
	return schema.TypeString, ""
}

// bound is a minimum or maximum in the form of the type.
func (d *decoder) bound(path string, t schema.Type, n number) string {
	if n == "" {
		return ""
	}
	switch t {
	case schema.TypeInt:
		if f, err := strconv.ParseFloat(string(n), 64); err == nil && f == float64(int64(f)) && f > -1<<53 && f < 1<<53 {
			return strconv.FormatInt(int64(f), 10)
		}
		if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
			return strconv.FormatInt(i, 10)
		}
	case schema.TypeFloat, schema.TypeDouble:
		if len(n) <= 64 && !strings.ContainsAny(string(n), "xXbBoO_") {
			return string(n)
		}
	}
	d.lose(path, fmt.Sprintf("%.40s is no bound for type %s", n, t))
	return ""
}

// transform takes scale, offset, mask and shift.
func (d *decoder) transform(path string, p *schema.ModelProperty, in properties) {
	var t schema.Transform
	if in.Scale != "" && in.Scale != "1" && in.Scale != "1.0" {
		t.Scale = string(in.Scale)
	}
	if in.Offset != "" && in.Offset != "0" {
		t.Offset = string(in.Offset)
	}
	if in.Mask != "" {
		t.Mask = string(in.Mask)
	}
	if in.Shift != "" {
		shift, err := strconv.Atoi(string(in.Shift))
		if err != nil || shift < 0 || shift > 63 {
			d.lose(path+".shift", fmt.Sprintf("%.20s is not from 0 to 63, to the right", in.Shift))
			shift = 0
		}
		t.Shift = shift
	}
	if t.Scale == "" && t.Offset == "" && t.Mask == "" && t.Shift == 0 {
		return
	}
	p.Transform = &t
	if t.Scale != "" && p.Type == schema.TypeInt {
		d.lose(path+".scale", "the value is rounded to INT: set type FLOAT to keep its fraction")
	}
}

// command adds a method.
func (d *decoder) command(c command) error {
	path := "deviceCommands." + c.Name
	if err := d.budget.Take(path, propertyCost/2); err != nil {
		return fmt.Errorf("edgexprofile: %w", err)
	}
	m := schema.Method{Name: c.Name}
	for _, o := range c.Operations {
		p := d.out.Model.Property(names.Property(o.Resource))
		if p == nil {
			d.lose(path+".resourceOperations", fmt.Sprintf("there is no deviceResource %.80q", o.Resource))
			continue
		}
		m.PropertyNames = append(m.PropertyNames, p.Name)
		if err := d.mappings(path, p, o.Mappings); err != nil {
			return err
		}
		if len(o.DefaultValue) > 0 && string(o.DefaultValue) != `""` && string(o.DefaultValue) != "null" {
			d.lose(path+".resourceOperations.defaultValue", "a method has no default parameters")
		}
	}
	d.out.Device.Methods = append(d.out.Device.Methods, m)
	return nil
}
