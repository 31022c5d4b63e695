package wot

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// The protocolNames of the mappers whose visitors are made.
const (
	protocolHTTP   = "http"
	protocolModbus = "modbus"
	protocolMQTT   = "mqtt"
)

// form is one way to reach an affordance.
type form struct {
	Href   string       `json:"href"`
	Op     stringOrList `json:"op"`
	Method string       `json:"htv:methodName"`
	Topic  string       `json:"mqv:topic"`
	Filter stringOrList `json:"mqv:filter"`
	Entity string       `json:"modv:entity"`
	// Function is a name or a number.
	Function  json.RawMessage `json:"modv:function"`
	ZeroBased bool            `json:"modv:zeroBasedAddressing"`
	Type      string          `json:"modv:type"`
	ByteFirst *bool           `json:"modv:mostSignificantByte"`
	WordFirst *bool           `json:"modv:mostSignificantWord"`
}

// stringOrList has the strings of a field that may be one string or a list, as op and filter are.
type stringOrList []string

// UnmarshalJSON takes a string or a list of strings.
func (s *stringOrList) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*s = []string{one}
		return nil
	}
	var all []string
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("want a string or a list of strings, not %.40s", raw)
	}
	*s = all
	return nil
}

func (s stringOrList) has(op string) bool { return slices.Contains(s, op) }

// binding is what a property's forms say: the protocol, how to connect, and the visitor.
type binding struct {
	protocol string // empty if no form is understood
	connect  map[string]any
	visit    map[string]any
}

// address tells devices apart: the protocol, and the fields of connect that say where the device is.
func (b binding) address() string {
	return b.protocol + fmt.Sprint(b.connect["url"], b.connect["broker"], b.connect["ip"], b.connect["port"], b.connect["slaveID"])
}

// bind makes the binding of a property. It may set the property's transform.
func (d *decoder) bind(path string, forms []form, p *schema.ModelProperty) binding {
	var read, write *form
	for n := range forms {
		f := &forms[n]
		switch {
		case f.Op.has("writeproperty") && !f.Op.has("readproperty"):
			if write == nil {
				write = f
			}
		case read == nil:
			read = f
		default:
			d.lose(fmt.Sprintf("%s.forms[%d]", path, n), "one form to read is taken, the first")
		}
	}
	if read == nil {
		read = write
	}
	if read == nil {
		return binding{}
	}
	u, err := d.resolve(read.Href)
	if err != nil {
		d.lose(path+".forms", fmt.Sprintf("href %.80q cannot be read: write the visitor by hand", read.Href))
		return binding{}
	}
	var b binding
	switch u.Scheme {
	case "http", "https":
		b, err = d.bindHTTP(u, write)
	case "modbus+tcp":
		b, err = bindModbus(u, read, p)
	case "mqtt", "mqtts":
		b, err = d.bindMQTT(u, read, write)
	default:
		err = fmt.Errorf("scheme %.20q is not understood", u.Scheme)
	}
	if err != nil {
		d.lose(path+".forms", err.Error()+": write the visitor by hand")
		return binding{}
	}
	return b
}

// resolve makes an absolute URL of a href. URI templates are left as they are.
func (d *decoder) resolve(href string) (*url.URL, error) {
	href, _, _ = strings.Cut(href, "{")
	u, err := url.Parse(href)
	if err != nil || u.IsAbs() {
		return u, err
	}
	base, err := url.Parse(d.base)
	if err != nil {
		return nil, err
	}
	return base.ResolveReference(u), nil
}

// bindHTTP makes the visitor of examples/mappers/http.
func (d *decoder) bindHTTP(u *url.URL, write *form) (binding, error) {
	b := binding{protocol: protocolHTTP, connect: map[string]any{"url": u.Scheme + "://" + u.Host}, visit: map[string]any{"path": u.RequestURI()}}
	if u.Host == "" {
		return binding{}, fmt.Errorf("href has no host")
	}
	if write == nil {
		return b, nil
	}
	if w, err := d.resolve(write.Href); err == nil && w.RequestURI() != u.RequestURI() {
		b.visit["writePath"] = w.RequestURI()
	}
	if write.Method != "" && write.Method != http.MethodPut {
		b.visit["writeMethod"] = write.Method
	}
	return b, nil
}

// bindMQTT makes the visitor of examples/mappers/mqtt.
func (d *decoder) bindMQTT(u *url.URL, read, write *form) (binding, error) {
	port := cmp.Or(u.Port(), map[string]string{"mqtt": "1883", "mqtts": "8883"}[u.Scheme])
	topic := topicOf(u, read)
	if u.Hostname() == "" || topic == "" {
		return binding{}, fmt.Errorf("href has no broker or no topic")
	}
	b := binding{
		protocol: protocolMQTT,
		connect:  map[string]any{"broker": map[string]string{"mqtt": "tcp", "mqtts": "tls"}[u.Scheme] + "://" + u.Hostname() + ":" + port, "topic": topic},
		visit:    map[string]any{"topic": topic},
	}
	if write != nil {
		if w, err := d.resolve(write.Href); err == nil {
			if command := topicOf(w, write); command != "" {
				b.visit["commandTopic"] = command
			}
		}
	}
	return b, nil
}

// topicOf finds the topic of a form: a term of its own, or the path.
func topicOf(u *url.URL, f *form) string {
	if f.Topic != "" {
		return f.Topic
	}
	if len(f.Filter) > 0 {
		return f.Filter[0]
	}
	return strings.TrimPrefix(u.Path, "/")
}

// bindModbus makes the visitor of examples/mappers/modbus, and the transform.
func bindModbus(u *url.URL, f *form, p *schema.ModelProperty) (binding, error) {
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) != 2 || u.Hostname() == "" {
		return binding{}, fmt.Errorf("href %.80q is not modbus+tcp://HOST:PORT/UNIT/ADDRESS?quantity=N", u)
	}
	unit, err1 := strconv.ParseUint(parts[0], 10, 8)
	address, err2 := strconv.ParseUint(parts[1], 10, 16)
	quantity, err3 := strconv.ParseUint(cmp.Or(u.Query().Get("quantity"), "1"), 10, 8)
	port, err4 := strconv.ParseUint(cmp.Or(u.Port(), "502"), 10, 16)
	if cmp.Or(err1, err2, err3, err4) != nil {
		return binding{}, fmt.Errorf("href %.80q has a unit, address, quantity or port that is out of range", u)
	}
	register := modbusEntity(f)
	if register == "" {
		return binding{}, fmt.Errorf("modv:entity and modv:function do not say which register it is")
	}
	if !f.ZeroBased && address > 0 {
		address-- // the default of modv:zeroBasedAddressing is false
	}
	p.Transform = transform(f, register)
	return binding{
		protocol: protocolModbus,
		connect:  map[string]any{"ip": u.Hostname(), "port": port, "slaveID": unit},
		visit:    map[string]any{"register": register, "offset": address, "limit": quantity},
	}, nil
}

// transform says how the registers are read; nil if the form does not say it.
func transform(f *form, register string) *schema.Transform {
	if register == "CoilRegister" || register == "DiscreteInputRegister" {
		return nil
	}
	raw := rawTypes()[strings.TrimPrefix(f.Type, "xsd:")]
	swapBytes, swapWords := f.ByteFirst != nil && !*f.ByteFirst, f.WordFirst != nil && !*f.WordFirst
	if raw == "" && !swapBytes && !swapWords {
		return nil
	}
	t := &schema.Transform{RawType: raw}
	if swapBytes {
		t.ByteOrder = schema.LittleEndian
	}
	if swapWords {
		t.WordOrder = schema.LittleEndian
	}
	return t
}

// rawTypes gives raw types by the names of XML Schema.
func rawTypes() map[string]schema.RawType {
	return map[string]schema.RawType{
		"byte": schema.RawInt8, "unsignedByte": schema.RawUint8, "short": schema.RawInt16, "unsignedShort": schema.RawUint16,
		"int": schema.RawInt32, "unsignedInt": schema.RawUint32, "long": schema.RawInt64, "unsignedLong": schema.RawUint64,
		"float": schema.RawFloat32, "double": schema.RawFloat64,
	}
}

// modbusEntity is KubeEdge's name of the table.
func modbusEntity(f *form) string {
	switch strings.ToLower(f.Entity) {
	case "coil":
		return "CoilRegister"
	case "discreteinput":
		return "DiscreteInputRegister"
	case "inputregister":
		return "InputRegister"
	case "holdingregister":
		return "HoldingRegister"
	}
	switch strings.ToLower(strings.Trim(string(f.Function), `"`)) {
	case "1", "5", "15", "readcoil", "writesinglecoil", "writemultiplecoils":
		return "CoilRegister"
	case "2", "readdiscreteinput":
		return "DiscreteInputRegister"
	case "3", "6", "16", "readholdingregisters", "writesingleholdingregister", "writemultipleholdingregisters":
		return "HoldingRegister"
	case "4", "readinputregisters":
		return "InputRegister"
	}
	return ""
}

// setProtocol chooses the protocol and the connection that most properties have, and sets the
// visitors of those.
func (d *decoder) setProtocol() error {
	count, best := make(map[string]int), ""
	for _, b := range d.bindings {
		if b.protocol == "" {
			continue
		}
		key := b.address()
		count[key]++
		if best == "" || count[key] > count[best] {
			best = key
		}
	}
	var chosen *binding
	for n := range d.bindings {
		b := &d.bindings[n]
		if b.protocol == "" {
			continue
		}
		p := &d.thing.Model.Properties[n]
		if b.address() != best {
			d.lose("properties."+p.Name+".forms", "a device has one protocol and address: write the visitor by hand")
			continue
		}
		if chosen == nil {
			chosen = b
		}
		config, err := schema.NewOptions(b.visit)
		if err != nil {
			return fmt.Errorf("wot: properties.%s: %w", p.Name, err)
		}
		p.Visitors = &schema.Visitor{ProtocolName: b.protocol, Config: config}
	}
	if chosen == nil {
		return nil
	}
	config, err := schema.NewOptions(chosen.connect)
	if err != nil {
		return fmt.Errorf("wot: %w", err)
	}
	d.thing.Model.Protocol = chosen.protocol
	d.thing.Device.Protocol = schema.Protocol{Name: chosen.protocol, Config: config}
	return nil
}
