package wot

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/device/internal/names"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Thing is a device as a Thing Description has it.
type Thing struct {
	Name   string                 // a name for model and device, by Kubernetes' rules
	Model  schema.DeviceModelSpec // with visitors
	Device schema.DeviceSpec      // of one device of the model; its ModelRef is Name
	Lost   []Loss                 // what has no place in Model and Device; the first 100
}

// Loss is a part that could not be taken over.
type Loss struct {
	Path   string // of the part, for example properties.status.enum
	Reason string // why, and what to do
}

// String is the loss as one line.
func (l Loss) String() string { return l.Path + ": " + l.Reason }

// The bounds of what is read and told.
const (
	maxSize       = 4 << 20 // bytes of a Thing Description
	maxProperties = 1024    // of a Device
	maxLosses     = 100
)

// Decode reads a Thing Description or a Thing Model. The error says what is wrong with it as a
// whole; the rest is in Thing.Lost. It is a *jsonlimit.LimitError for one that would take
// much more memory than its text.
func Decode(text []byte) (Thing, error) {
	if len(text) > maxSize {
		return Thing{}, fmt.Errorf("wot: the Thing Description has %d bytes, at most %d are read", len(text), maxSize)
	}
	budget := jsonlimit.NewBudget(len(text))
	var td description
	if err := budget.Unmarshal(text, &td); err != nil {
		return Thing{}, fmt.Errorf("wot: %w", err)
	}
	if !td.isThing() {
		return Thing{}, errors.New("wot: @context does not name https://www.w3.org/2022/wot/td/v1.1: it is no Thing Description")
	}
	d := decoder{budget: budget, base: td.Base, taken: make(map[string]bool)}
	d.thing.Name = names.Resource("thing", td.Title, td.ID)
	d.thing.Device.ModelRef.Name = d.thing.Name
	for _, name := range slices.Sorted(maps.Keys(td.Properties)) {
		if err := d.property("properties."+name, name, td.Properties[name], false); err != nil {
			return Thing{}, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(td.Events)) {
		if err := d.event(name, td.Events[name]); err != nil {
			return Thing{}, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(td.Actions)) {
		if err := d.action(name, td.Actions[name]); err != nil {
			return Thing{}, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(td.SecurityDefinitions)) {
		if scheme := td.SecurityDefinitions[name].Scheme; scheme != "nosec" {
			d.lose("securityDefinitions."+name, "give the credentials of scheme "+scheme+" to the mapper in protocol.configData, as a secretRef")
		}
	}
	return d.thing, d.setProtocol()
}

// description is what is read of a Thing Description.
type description struct {
	Context             json.RawMessage           `json:"@context"`
	ID                  string                    `json:"id"`
	Title               string                    `json:"title"`
	Base                string                    `json:"base"`
	Properties          map[string]affordance     `json:"properties"`
	Actions             map[string]action         `json:"actions"`
	Events              map[string]event          `json:"events"`
	SecurityDefinitions map[string]securityScheme `json:"securityDefinitions"`
}

type securityScheme struct {
	Scheme string `json:"scheme"`
}

// affordance is a property: a data schema with forms.
type affordance struct {
	dataSchema
	Forms []form `json:"forms"`
}

type dataSchema struct {
	Title            string          `json:"title"`
	Description      string          `json:"description"`
	Type             string          `json:"type"`
	Unit             string          `json:"unit"`
	Minimum          json.Number     `json:"minimum"`
	Maximum          json.Number     `json:"maximum"`
	ReadOnly         bool            `json:"readOnly"`
	WriteOnly        bool            `json:"writeOnly"`
	ContentEncoding  string          `json:"contentEncoding"`
	ExclusiveMinimum json.RawMessage `json:"exclusiveMinimum"`
	ExclusiveMaximum json.RawMessage `json:"exclusiveMaximum"`
	MultipleOf       json.RawMessage `json:"multipleOf"`
	Enum             json.RawMessage `json:"enum"`
	Const            json.RawMessage `json:"const"`
	Default          json.RawMessage `json:"default"`
	OneOf            json.RawMessage `json:"oneOf"`
	Pattern          json.RawMessage `json:"pattern"`
	MinLength        json.RawMessage `json:"minLength"`
	MaxLength        json.RawMessage `json:"maxLength"`
}

type action struct {
	Title       string       `json:"title"`
	Description string       `json:"description"`
	Input       *inputSchema `json:"input"`
	Output      *dataSchema  `json:"output"`
	Forms       []form       `json:"forms"`
}

type inputSchema struct {
	Type       string                `json:"type"`
	Properties map[string]dataSchema `json:"properties"`
}

type event struct {
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Data        *dataSchema `json:"data"`
	Forms       []form      `json:"forms"`
}

// isThing looks for the context of a Thing Description, of any version.
func (td *description) isThing() bool {
	return strings.Contains(string(td.Context), "www.w3.org/2022/wot/td/") ||
		strings.Contains(string(td.Context), "www.w3.org/2019/wot/td/")
}

// decoder makes a Thing.
type decoder struct {
	budget   *jsonlimit.Budget
	base     string
	thing    Thing
	taken    map[string]bool // names of properties
	bindings []binding       // of the model's properties, by index
}

// lose notes a loss.
func (d *decoder) lose(path, reason string) {
	if len(d.thing.Lost) < maxLosses {
		d.thing.Lost = append(d.thing.Lost, Loss{path, reason})
	}
}

// propertyCost is what one property takes in model and device together, in bytes. A short
// property takes far more than its text, so that the budget bounds how many there may be.
const propertyCost = 1024

// property adds a property to model and device.
func (d *decoder) property(path, name string, a affordance, notified bool) error {
	if err := d.budget.Take(path, propertyCost); err != nil {
		return fmt.Errorf("wot: %w", err)
	}
	if len(d.thing.Model.Properties) == maxProperties {
		return fmt.Errorf("wot: %s: a Device has at most %d properties", path, maxProperties)
	}
	good := names.Property(name)
	if good != name {
		d.lose(path, "is named "+good+": a property's name has letters, digits and -_.,:/@#, at most 128")
	}
	if d.taken[good] {
		d.lose(path, "there is a property of that name: this one is left out")
		return nil
	}
	d.taken[good] = true
	p := schema.ModelProperty{Name: good, Description: cmp.Or(a.Description, a.Title), Unit: a.Unit, AccessMode: schema.ReadWrite, ReportAlways: notified}
	if a.ReadOnly {
		p.AccessMode = schema.ReadOnly
	}
	if a.WriteOnly {
		d.lose(path+".writeOnly", "a property is always read; a reading of it will fail")
	}
	p.Type = d.valueType(path, a.dataSchema)
	p.Minimum, p.Maximum = d.bound(path+".minimum", p.Type, a.Minimum), d.bound(path+".maximum", p.Type, a.Maximum)
	d.loseSchema(path, a.dataSchema)
	d.bindings = append(d.bindings, d.bind(path, a.Forms, &p))
	d.thing.Model.Properties = append(d.thing.Model.Properties, p)
	d.thing.Device.Properties = append(d.thing.Device.Properties, schema.Property{Name: good, ReportToCloud: true})
	return nil
}

// loseSchema names the rules of a schema that a model does not have.
func (d *decoder) loseSchema(path string, s dataSchema) {
	for _, rule := range []struct {
		name string
		raw  json.RawMessage
	}{
		{"exclusiveMinimum", s.ExclusiveMinimum}, {"exclusiveMaximum", s.ExclusiveMaximum}, {"multipleOf", s.MultipleOf},
		{"enum", s.Enum}, {"const", s.Const}, {"default", s.Default}, {"oneOf", s.OneOf},
		{"pattern", s.Pattern}, {"minLength", s.MinLength}, {"maxLength", s.MaxLength},
	} {
		if len(rule.raw) > 0 {
			d.lose(path+"."+rule.name, "a model has no such rule: the value is not checked by it")
		}
	}
}

// valueType is the type of a property.
func (d *decoder) valueType(path string, s dataSchema) schema.Type {
	switch s.Type {
	case "integer":
		return schema.TypeInt
	case "number":
		return schema.TypeDouble
	case "boolean":
		return schema.TypeBoolean
	case "string":
		if s.ContentEncoding == "base64" {
			return schema.TypeBytes
		}
		return schema.TypeString
	case "object", "array":
		d.lose(path+".type", s.Type+" becomes STRING with JSON text")
	case "":
		d.lose(path+".type", "is missing: STRING is taken")
	default:
		d.lose(path+".type", fmt.Sprintf("%.40q is not known: STRING is taken", s.Type))
	}
	return schema.TypeString
}

// bound is a minimum or maximum in the form of the type; empty if it has none.
func (d *decoder) bound(path string, t schema.Type, n json.Number) string {
	if n == "" {
		return ""
	}
	switch t {
	case schema.TypeDouble:
		if len(n) <= 64 {
			return n.String()
		}
	case schema.TypeInt:
		if i, err := n.Int64(); err == nil {
			return fmt.Sprint(i)
		}
		if f, err := n.Float64(); err == nil && f == float64(int64(f)) && f > -1<<53 && f < 1<<53 { // 1e3 and 10.0
			return fmt.Sprint(int64(f))
		}
	}
	d.lose(path, fmt.Sprintf("%.40s is no bound for type %s", n, t))
	return ""
}

// event adds an event whose data is one value as a property.
func (d *decoder) event(name string, e event) error {
	path := "events." + name
	if e.Data == nil || e.Data.Type == "object" || e.Data.Type == "array" || e.Data.Type == "" {
		d.lose(path, "has no data of one simple type: it is left out")
		return nil
	}
	if d.taken[names.Property(name)] {
		d.lose(path, "there is a property of that name: the event is left out")
		return nil
	}
	a := affordance{dataSchema: *e.Data, Forms: e.Forms}
	a.ReadOnly = true
	if e.Description != "" {
		a.Description = e.Description
	}
	d.lose(path, "becomes a read-only property that is reported with each notification")
	return d.property(path, name, a, true)
}

// action adds an action as a method.
func (d *decoder) action(name string, a action) error {
	path := "actions." + name
	if err := d.budget.Take(path, propertyCost/2); err != nil {
		return fmt.Errorf("wot: %w", err)
	}
	m := schema.Method{Name: name, Description: cmp.Or(a.Description, a.Title)}
	if a.Input != nil {
		for _, input := range slices.Sorted(maps.Keys(a.Input.Properties)) {
			if d.taken[input] {
				m.PropertyNames = append(m.PropertyNames, input)
			} else {
				d.lose(path+".input.properties."+input, "no property has that name: the driver must know the parameter")
			}
		}
		if len(a.Input.Properties) == 0 {
			d.lose(path+".input", "has no properties: the driver must know its parameter")
		}
	}
	if a.Output != nil {
		d.lose(path+".output", "a method has no declared result")
	}
	if len(a.Forms) > 0 {
		d.lose(path+".forms", "a method has no visitor: the driver must know how to run it, or it writes its properties")
	}
	d.thing.Device.Methods = append(d.thing.Device.Methods, m)
	return nil
}
