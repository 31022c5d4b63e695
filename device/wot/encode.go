package wot

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Encode writes a Thing Description of a device: t.Name, t.Model and t.Device. If the device
// is not reached by a protocol that has forms (http, modbus over TCP, mqtt), or t.Device is
// empty, it is a Thing Model, which needs none. What has no place in it is returned.
func Encode(t Thing) (text []byte, lost []Loss, err error) {
	e := encoder{thing: t}
	spec, err := t.Device.WithDefaults(t.Model)
	if err != nil {
		return nil, nil, fmt.Errorf("wot: %w", err)
	}
	e.device = spec
	out := outThing{
		Context: []any{"https://www.w3.org/2022/wot/td/v1.1"}, Title: t.Name,
		Properties: make(map[string]*outProperty), Actions: make(map[string]*outAction),
	}
	whole := len(t.Model.Properties) > 0
	for n := range t.Model.Properties {
		p := &t.Model.Properties[n]
		made := e.property(p)
		whole = whole && len(made.Forms) > 0
		out.Properties[p.Name] = made
	}
	if whole && len(t.Device.Methods) > 0 {
		whole = false
		e.lose("methods", "have no forms: a Thing Model is written, which needs none")
	}
	for _, m := range t.Device.Methods {
		a := &outAction{Description: m.Description}
		if len(m.PropertyNames) > 0 {
			a.Input = &outInput{Type: "object", Properties: make(map[string]outSchema)}
			for _, name := range m.PropertyNames {
				if p := out.Properties[name]; p != nil {
					s := p.outSchema
					s.ReadOnly = false
					a.Input.Properties[name] = s
				}
			}
		}
		out.Actions[m.Name] = a
	}
	if whole {
		out.ID, out.Security = "urn:edgekit:"+url.PathEscape(t.Name), "nosec_sc"
		out.SecurityDefinitions = map[string]map[string]string{"nosec_sc": {"scheme": "nosec"}}
		e.context(&out)
		if config := string(e.device.Protocol.Config); strings.Contains(config, "assword") || strings.Contains(config, "oken") || strings.Contains(config, "secretRef") || strings.Contains(config, "@") {
			e.lose("protocol.configData", "credentials are not written: set securityDefinitions by hand")
		}
	} else {
		out.Type = "tm:ThingModel"
		for _, p := range out.Properties {
			p.Forms = nil
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return nil, nil, fmt.Errorf("wot: %w", err)
	}
	return buf.Bytes(), e.lost, nil
}

// The JSON of a Thing Description.
type outThing struct {
	Context             []any                        `json:"@context"`
	Type                string                       `json:"@type,omitempty"`
	ID                  string                       `json:"id,omitempty"`
	Title               string                       `json:"title"`
	SecurityDefinitions map[string]map[string]string `json:"securityDefinitions,omitempty"`
	Security            string                       `json:"security,omitempty"`
	Properties          map[string]*outProperty      `json:"properties,omitempty"`
	Actions             map[string]*outAction        `json:"actions,omitempty"`
}

type outProperty struct {
	outSchema
	Forms []map[string]any `json:"forms,omitempty"`
}

type outSchema struct {
	Description     string      `json:"description,omitempty"`
	Type            string      `json:"type"`
	ContentEncoding string      `json:"contentEncoding,omitempty"`
	Unit            string      `json:"unit,omitempty"`
	Minimum         json.Number `json:"minimum,omitempty"`
	Maximum         json.Number `json:"maximum,omitempty"`
	ReadOnly        bool        `json:"readOnly,omitempty"`
	Observable      bool        `json:"observable,omitempty"`
}

type outAction struct {
	Description string    `json:"description,omitempty"`
	Input       *outInput `json:"input,omitempty"`
}

type outInput struct {
	Type       string               `json:"type"`
	Properties map[string]outSchema `json:"properties"`
}

// encoder makes a Thing Description.
type encoder struct {
	thing  Thing
	device schema.DeviceSpec // with the model's defaults
	lost   []Loss
}

func (e *encoder) lose(path, reason string) { e.lost = append(e.lost, Loss{path, reason}) }

// property makes one property.
func (e *encoder) property(p *schema.ModelProperty) *outProperty {
	out := &outProperty{outSchema: outSchema{
		Description: p.Description, Unit: p.Unit, ReadOnly: p.AccessMode != schema.ReadWrite, Observable: p.ReportAlways,
		Minimum: number(p.Minimum), Maximum: number(p.Maximum),
	}}
	path := "properties." + p.Name
	switch p.Type {
	case schema.TypeInt:
		out.Type = "integer"
	case schema.TypeFloat, schema.TypeDouble:
		out.Type = "number"
	case schema.TypeBoolean:
		out.Type = "boolean"
	case schema.TypeBytes:
		out.Type, out.ContentEncoding = "string", "base64"
	case schema.TypeStream:
		out.Type = "string"
		e.lose(path+".type", "STREAM becomes string")
	default:
		out.Type = "string"
	}
	if p.DesiredBy != "" && p.DesiredBy != schema.DesiredByBoth {
		e.lose(path+".desiredBy", "a Thing Description does not say who may write")
	}
	if p.History != nil {
		e.lose(path+".history", "a Thing Description does not say what is kept")
	}
	e.transform(path, p)
	forms, err := e.forms(p)
	if err != nil {
		e.lose(path+".visitors", err.Error())
	}
	out.Forms = forms
	return out
}

// number is a bound as JSON has it; empty if it is none.
func number(text string) json.Number {
	text = strings.TrimPrefix(text, "+")
	if !json.Valid([]byte(text)) {
		return ""
	}
	return json.Number(text)
}

// transform names what forms cannot say.
func (e *encoder) transform(path string, p *schema.ModelProperty) {
	t := p.Transform
	if t == nil {
		return
	}
	if t.Mask != "" || t.Shift != 0 || t.Scale != "" || t.Offset != "" || len(t.Mapping) > 0 {
		e.lose(path+".transform", "mask, shift, scale, offset and mapping have no place: a client sees the raw value")
	}
	if t.OnChange || t.DeadBand != "" {
		e.lose(path+".transform", "onChange and deadBand have no place")
	}
}

// forms makes the forms of a property, if its protocol has a binding.
func (e *encoder) forms(p *schema.ModelProperty) ([]map[string]any, error) {
	visitor := p.Visitors
	for n := range e.device.Properties {
		if own := e.device.Properties[n]; own.Name == p.Name && own.Visitors != nil {
			visitor = own.Visitors
		}
	}
	if visitor == nil {
		return nil, fmt.Errorf("there are none: no form is written")
	}
	var c struct {
		URL, IP, Broker, Topic, CommunicateMode, CommandTopic string
		Port, SlaveID                                         int
	}
	var v struct {
		Path, JSONPath, WritePath, WriteMethod, WriteBody string
		Register, Topic, CommandTopic, CommandPayload     string
		Offset, Limit                                     int
	}
	if err := e.device.Protocol.Config.Decode(&c); err != nil {
		return nil, err
	}
	if err := visitor.Config.Decode(&v); err != nil {
		return nil, err
	}
	writable := p.AccessMode == schema.ReadWrite
	switch {
	case e.device.Protocol.Name == protocolHTTP && c.URL != "" && v.Path != "":
		e.loseBody(p.Name, v.JSONPath+v.WriteBody)
		return httpForms(withoutUser(c.URL), v.Path, v.WritePath, v.WriteMethod, writable), nil
	case e.device.Protocol.Name == protocolModbus && c.IP != "" && v.Register != "" && (c.CommunicateMode == "" || strings.EqualFold(c.CommunicateMode, "tcp")):
		return []map[string]any{modbusForm(c.IP, c.Port, c.SlaveID, v.Register, v.Offset, v.Limit, p)}, nil
	case e.device.Protocol.Name == protocolMQTT && c.Broker != "":
		e.loseBody(p.Name, v.JSONPath+v.CommandPayload)
		read, command := cmp.Or(v.Topic, c.Topic), cmp.Or(v.CommandTopic, c.CommandTopic, c.Topic+"/set")
		return mqttForms(withoutUser(c.Broker), read, command, writable), nil
	}
	return nil, fmt.Errorf("protocol %q has no form here", e.device.Protocol.Name)
}

// withoutUser takes the user and password out of an address.
func withoutUser(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	u.User = nil
	return u.String()
}

// loseBody names a message that is more than the value.
func (e *encoder) loseBody(name, body string) {
	if body != "" {
		e.lose("properties."+name+".visitors", "a form does not say where in a message the value is")
	}
}

func httpForms(base, path, writePath, method string, writable bool) []map[string]any {
	base = strings.TrimSuffix(base, "/")
	forms := []map[string]any{{"href": base + "/" + strings.TrimPrefix(path, "/"), "op": []string{"readproperty"}, "htv:methodName": http.MethodGet}}
	if writable {
		forms = append(forms, map[string]any{
			"href": base + "/" + strings.TrimPrefix(cmp.Or(writePath, path), "/"), "op": []string{"writeproperty"}, "htv:methodName": cmp.Or(method, http.MethodPut),
		})
	}
	return forms
}

func mqttForms(broker, topic, command string, writable bool) []map[string]any {
	href := strings.NewReplacer("tcp://", "mqtt://", "tls://", "mqtts://").Replace(broker)
	forms := []map[string]any{{"href": href, "op": []string{"readproperty", "observeproperty"}, "mqv:controlPacket": "subscribe", "mqv:filter": topic}}
	if writable {
		forms = append(forms, map[string]any{"href": href, "op": []string{"writeproperty"}, "mqv:controlPacket": "publish", "mqv:topic": command})
	}
	return forms
}

func modbusForm(ip string, port, slave int, register string, offset, limit int, p *schema.ModelProperty) map[string]any {
	ops := []string{"readproperty"}
	if p.AccessMode == schema.ReadWrite {
		ops = append(ops, "writeproperty")
	}
	f := map[string]any{
		"href": fmt.Sprintf("modbus+tcp://%s:%d/%d/%d?quantity=%d", ip, cmp.Or(port, 502), slave, offset, max(limit, 1)), "op": ops,
		"modv:entity": strings.TrimSuffix(register, "Register"), "modv:zeroBasedAddressing": true,
	}
	if entity := f["modv:entity"]; entity == "Input" || entity == "Holding" {
		f["modv:entity"] = register
	}
	if t := p.Transform; t != nil {
		for name, raw := range rawTypes() {
			if raw == t.RawType {
				f["modv:type"] = "xsd:" + name
			}
		}
		if t.ByteOrder == schema.LittleEndian {
			f["modv:mostSignificantByte"] = false
		}
		if t.WordOrder == schema.LittleEndian {
			f["modv:mostSignificantWord"] = false
		}
	}
	return f
}

// context adds the vocabularies of the forms.
func (e *encoder) context(out *outThing) {
	words := map[string]string{
		protocolHTTP:   "http://www.w3.org/2011/http#",
		protocolModbus: "https://www.w3.org/2019/wot/modbus#",
		protocolMQTT:   "https://www.w3.org/2019/wot/mqtt#",
	}
	prefix := map[string]string{protocolHTTP: "htv", protocolModbus: "modv", protocolMQTT: "mqv"}
	name := e.device.Protocol.Name
	if words[name] != "" {
		out.Context = append(out.Context, map[string]string{prefix[name]: words[name]})
	}
}
