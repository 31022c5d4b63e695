package v1beta1

import (
	"fmt"
	"strings"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Desired is a desired value of a property, with its type and time.
type Desired struct {
	Value string
	Type  string // as the twin has it, for example "int"
	Time  int64  // when it was set, in milliseconds since 1970; 0 if that is not known
}

// property is the desired value in the form of DMI; empty if there is none.
func (d Desired) property() *TwinProperty {
	p := &TwinProperty{Value: d.Value}
	if d.Type != "" || d.Time != 0 {
		p.Metadata = map[string]string{"type": d.Type, "timestamp": fmt.Sprint(d.Time)}
	}
	return p
}

// DeviceOf makes a Device of a spec that has the model's defaults, and the desired values by
// property. Messages that mappers of KubeEdge read unseen are never nil.
func DeviceOf(id string, spec schema.DeviceSpec, desired map[string]Desired) (*Device, error) {
	namespace, name, _ := strings.Cut(id, "/")
	dev := &Device{
		Name: name, Namespace: namespace,
		Spec:   &DeviceSpec{DeviceModelReference: spec.ModelRef.Name, Protocol: &ProtocolConfig{ProtocolName: spec.Protocol.Name}},
		Status: &DeviceStatus{},
	}
	var err error
	if dev.Spec.Protocol.ConfigData, err = CustomizedOf(spec.Protocol.Config); err != nil {
		return nil, fmt.Errorf("%w in spec.protocol.configData of %s", err, id)
	}
	for i := range spec.Properties {
		p, err := propertyOf(&spec.Properties[i], desired)
		if err != nil {
			return nil, fmt.Errorf("%w of property %s of %s", err, spec.Properties[i].Name, id)
		}
		dev.Spec.Properties = append(dev.Spec.Properties, p)
		if d, ok := desired[p.Name]; ok {
			// Mappers of before KubeEdge 1.17 look for desired values here.
			dev.Status.Twins = append(dev.Status.Twins, &Twin{PropertyName: p.Name, ObservedDesired: d.property(), Reported: &TwinProperty{}})
		}
	}
	for _, m := range spec.Methods {
		dev.Spec.Methods = append(dev.Spec.Methods, &DeviceMethod{Name: m.Name, Description: m.Description, PropertyNames: m.PropertyNames})
	}
	if r := spec.StateReport; r != nil {
		dev.Status.ReportToCloud, dev.Status.ReportCycle = r.ReportToCloud, r.ReportCycle
	}
	return dev, nil
}

func propertyOf(p *schema.Property, desired map[string]Desired) (*DeviceProperty, error) {
	out := &DeviceProperty{
		Name: p.Name, Desired: desired[p.Name].property(), Visitors: &VisitorConfig{},
		ReportCycle: p.Report().Milliseconds(), CollectCycle: p.Collect().Milliseconds(), ReportToCloud: p.ReportToCloud,
	}
	var config schema.Options
	if p.Visitors != nil {
		out.Visitors.ProtocolName, config = p.Visitors.ProtocolName, p.Visitors.Config
	}
	var err error
	if out.Visitors.ConfigData, err = CustomizedOf(config); err != nil {
		return nil, fmt.Errorf("%w in visitors.configData", err)
	}
	out.PushMethod, err = pushOf(p.PushMethod)
	return out, err
}

func pushOf(p *schema.PushMethod) (*PushMethod, error) {
	if p == nil {
		return nil, nil
	}
	out := &PushMethod{}
	if h := p.HTTP; h != nil {
		out.HTTP = &PushMethodHTTP{HostName: h.HostName, Port: h.Port, RequestPath: h.RequestPath, Timeout: h.Timeout}
	}
	if m := p.MQTT; m != nil {
		out.MQTT = &PushMethodMQTT{Address: m.Address, Topic: m.Topic, QoS: m.QoS, Retained: m.Retained}
	}
	if o := p.OTEL; o != nil {
		out.OTEL = &PushMethodOTEL{EndpointURL: o.EndpointURL}
	}
	if p.DB != nil {
		out.DBMethod = databaseOf(p.DB)
	}
	if len(p.AnomalyDetection) > 0 {
		values, err := CustomizedOf(p.AnomalyDetection)
		if err != nil {
			return nil, fmt.Errorf("%w in pushMethod.anomalyDetection", err)
		}
		out.AnomalyDetection = &AnomalyDetection{Data: values.Data}
	}
	return out, nil
}

func databaseOf(p *schema.PushDB) *DBMethod {
	out := &DBMethod{}
	if i := p.InfluxDB2; i != nil {
		out.InfluxDB2 = &DBMethodInfluxDB2{}
		if c := i.Client; c != nil {
			out.InfluxDB2.Client = &InfluxDB2ClientConfig{URL: c.URL, Org: c.Org, Bucket: c.Bucket}
		}
		if d := i.Data; d != nil {
			out.InfluxDB2.Data = &InfluxDB2DataConfig{Measurement: d.Measurement, Tag: d.Tag, FieldKey: d.FieldKey}
		}
	}
	if r := p.Redis; r != nil && r.Client != nil {
		out.Redis = &DBMethodRedis{Client: &RedisClientConfig{Addr: r.Client.Addr, DB: r.Client.DB, PoolSize: r.Client.PoolSize, MinIdleConns: r.Client.MinIdleConns}}
	}
	if t := p.TDEngine; t != nil && t.Client != nil {
		out.TDEngine = &DBMethodTDEngine{Client: &TDEngineClientConfig{Addr: t.Client.Addr, DBName: t.Client.DBName}}
	}
	if m := p.MySQL; m != nil && m.Client != nil {
		out.MySQL = &DBMethodMySQL{Client: &MySQLClientConfig{Addr: m.Client.Addr, Database: m.Client.Database, UserName: m.Client.UserName}}
	}
	return out
}

// ModelOf makes a DeviceModel. DMI has no place for what edgekit adds to models.
func ModelOf(namespace, name string, spec schema.DeviceModelSpec) *DeviceModel {
	m := &DeviceModel{Name: name, Namespace: namespace, Spec: &DeviceModelSpec{}}
	for i := range spec.Properties {
		p := &spec.Properties[i]
		m.Spec.Properties = append(m.Spec.Properties, &ModelProperty{
			Name: p.Name, Description: p.Description, Type: string(p.Type), AccessMode: string(p.AccessMode),
			Minimum: p.Minimum, Maximum: p.Maximum, Unit: p.Unit,
		})
	}
	return m
}

// ID is namespace/name. A device without a namespace is in "default".
func (d *Device) ID() string { return ID(d.Namespace, d.Name) }

// ID makes the ID of a device. An empty namespace is "default".
func ID(namespace, name string) string {
	if namespace == "" {
		namespace = "default"
	}
	return namespace + "/" + name
}

// ModelSpec returns the spec of a model as the SDK has it. It is no method, so that edgecore,
// which does not call it, need not have it.
func ModelSpec(m *DeviceModel) schema.DeviceModelSpec {
	var out schema.DeviceModelSpec
	if m == nil || len(m.EdgekitModel) > 0 && jsonlimit.Unmarshal(m.EdgekitModel, &out) == nil {
		return out
	}
	if out = (schema.DeviceModelSpec{}); m.Spec == nil {
		return out
	}
	for _, p := range m.Spec.Properties {
		out.Properties = append(out.Properties, schema.ModelProperty{
			Name: p.Name, Description: p.Description, Type: schema.Type(p.Type), AccessMode: schema.AccessMode(p.AccessMode),
			Minimum: p.Minimum, Maximum: p.Maximum, Unit: p.Unit,
		})
	}
	return out
}

// Spec returns the spec and the desired values of a device as the SDK has them. Parts that are
// missing are empty.
func Spec(d *Device) (spec schema.DeviceSpec, desired map[string]string, err error) {
	desired = make(map[string]string)
	if d.Spec == nil {
		return spec, desired, nil
	}
	if len(d.EdgekitSpec) > 0 {
		for _, p := range d.Spec.Properties {
			if p.Desired != nil && p.Desired.Value != "" {
				desired[p.Name] = p.Desired.Value
			}
		}
		if err = jsonlimit.Unmarshal(d.EdgekitSpec, &spec); err != nil {
			err = fmt.Errorf("device/dmi: spec of %s: %w", d.ID(), err)
		}
		return spec, desired, err
	}
	spec.ModelRef.Name = d.Spec.DeviceModelReference
	if p := d.Spec.Protocol; p != nil {
		spec.Protocol.Name = p.ProtocolName
		if spec.Protocol.Config, err = options(p.ConfigData); err != nil {
			return spec, nil, fmt.Errorf("%w in protocol.configData of %s", err, d.ID())
		}
	}
	for _, p := range d.Spec.Properties {
		property := schema.Property{Name: p.Name, ReportCycle: p.ReportCycle, CollectCycle: p.CollectCycle, ReportToCloud: p.ReportToCloud}
		if p.Desired != nil && p.Desired.Value != "" {
			desired[p.Name] = p.Desired.Value
		}
		if v := p.Visitors; v != nil && (v.ProtocolName != "" || v.ConfigData != nil && len(v.ConfigData.Data) > 0) {
			property.Visitors = &schema.Visitor{ProtocolName: v.ProtocolName}
			if property.Visitors.Config, err = options(v.ConfigData); err != nil {
				return spec, nil, fmt.Errorf("%w in visitors.configData of property %s of %s", err, p.Name, d.ID())
			}
		}
		if property.PushMethod, err = pushMethod(p.PushMethod); err != nil {
			return spec, nil, fmt.Errorf("%w of property %s of %s", err, p.Name, d.ID())
		}
		spec.Properties = append(spec.Properties, property)
	}
	for _, m := range d.Spec.Methods {
		spec.Methods = append(spec.Methods, schema.Method{Name: m.Name, Description: m.Description, PropertyNames: m.PropertyNames})
	}
	if s := d.Status; s != nil && (s.ReportToCloud || s.ReportCycle != 0) {
		spec.StateReport = &schema.StateReport{ReportToCloud: s.ReportToCloud, ReportCycle: s.ReportCycle}
	}
	return spec, desired, nil
}

func pushMethod(p *PushMethod) (*schema.PushMethod, error) {
	if p == nil {
		return nil, nil
	}
	out := &schema.PushMethod{}
	if h := p.HTTP; h != nil {
		out.HTTP = &schema.PushHTTP{HostName: h.HostName, Port: h.Port, RequestPath: h.RequestPath, Timeout: h.Timeout}
	}
	if m := p.MQTT; m != nil {
		out.MQTT = &schema.PushMQTT{Address: m.Address, Topic: m.Topic, QoS: m.QoS, Retained: m.Retained}
	}
	if o := p.OTEL; o != nil {
		out.OTEL = &schema.PushOTEL{EndpointURL: o.EndpointURL}
	}
	if p.DBMethod != nil {
		out.DB = database(p.DBMethod)
	}
	if a := p.AnomalyDetection; a != nil {
		var err error
		if out.AnomalyDetection, err = options(&CustomizedValue{Data: a.Data}); err != nil {
			return nil, fmt.Errorf("%w in pushMethod.anomalyDetection", err)
		}
	}
	return out, nil
}

func database(p *DBMethod) *schema.PushDB {
	out := &schema.PushDB{}
	if i := p.InfluxDB2; i != nil {
		out.InfluxDB2 = &schema.PushInfluxDB2{}
		if c := i.Client; c != nil {
			out.InfluxDB2.Client = &schema.InfluxDB2ClientConfig{URL: c.URL, Org: c.Org, Bucket: c.Bucket}
		}
		if d := i.Data; d != nil {
			out.InfluxDB2.Data = &schema.InfluxDB2DataConfig{Measurement: d.Measurement, Tag: d.Tag, FieldKey: d.FieldKey}
		}
	}
	if r := p.Redis; r != nil && r.Client != nil {
		out.Redis = &schema.PushRedis{Client: &schema.RedisClientConfig{Addr: r.Client.Addr, DB: r.Client.DB, PoolSize: r.Client.PoolSize, MinIdleConns: r.Client.MinIdleConns}}
	}
	if t := p.TDEngine; t != nil && t.Client != nil {
		out.TDEngine = &schema.PushTDEngine{Client: &schema.TDEngineClientConfig{Addr: t.Client.Addr, DBName: t.Client.DBName}}
	}
	if m := p.MySQL; m != nil && m.Client != nil {
		out.MySQL = &schema.PushMySQL{Client: &schema.MySQLClientConfig{Addr: m.Client.Addr, Database: m.Client.Database, UserName: m.Client.UserName}}
	}
	return out
}
