package v1beta1

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// TestAny has each kind of JSON value become the type that mappers expect, and come back.
func TestAny(t *testing.T) {
	for _, tt := range []struct {
		json string
		want proto.Message // as the protobuf runtime reads it
	}{
		{`"10.1.1.5"`, wrapperspb.String("10.1.1.5")},
		{`""`, wrapperspb.String("")},
		{`true`, wrapperspb.Bool(true)},
		{`false`, wrapperspb.Bool(false)},
		{`502`, wrapperspb.Int64(502)},
		{`0`, wrapperspb.Int64(0)},
		{`-9223372036854775808`, wrapperspb.Int64(math.MinInt64)},
		{`0.5`, wrapperspb.Float(0.5)},
		{`0.1`, wrapperspb.Float(0.1)},
		{`0.30000000000000004`, wrapperspb.Float(0.3)}, // and 64 bits beside
		{`1e+300`, wrapperspb.Float(float32(math.Inf(1)))},
		{`null`, structpb.NewNullValue()},
		{`[1,"a",[true,null],{}]`, structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{
			structpb.NewNumberValue(1), structpb.NewStringValue("a"),
			structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewBoolValue(true), structpb.NewNullValue()}}),
			structpb.NewStructValue(&structpb.Struct{}),
		}})},
		{`{"a":{"b":[0.25]}}`, structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStructValue(&structpb.Struct{
			Fields: map[string]*structpb.Value{"b": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewNumberValue(0.25)}})},
		})}})},
	} {
		t.Run(tt.json, func(t *testing.T) {
			a, err := AnyOf(json.RawMessage(tt.json))
			if err != nil {
				t.Fatal(err)
			}
			got, err := (&anypb.Any{TypeUrl: a.TypeURL, Value: a.Value}).UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			got.ProtoReflect().SetUnknown(nil)
			if !proto.Equal(got, tt.want) {
				t.Errorf("the runtime reads %v, want %v", got, tt.want)
			}
			if again, err := ToJSON(a); err != nil || string(again) != tt.json {
				t.Errorf("it comes back as %s, %v", again, err)
			}
		})
	}
}

// TestAnyOfOthers reads the wrappers that other programs may send.
func TestAnyOfOthers(t *testing.T) {
	for want, m := range map[string]proto.Message{
		`-7`:     wrapperspb.Int32(-7),
		`7`:      wrapperspb.UInt32(7),
		`8`:      wrapperspb.UInt64(8),
		`0.3`:    wrapperspb.Double(0.3),
		`"AQI="`: wrapperspb.Bytes([]byte{1, 2}),
		`{"a":1}`: &structpb.Struct{Fields: map[string]*structpb.Value{
			"a": structpb.NewNumberValue(1),
		}},
		`[null]`: &structpb.ListValue{Values: []*structpb.Value{structpb.NewNullValue()}},
	} {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ToJSON(&Any{TypeURL: a.TypeUrl, Value: a.Value}); err != nil || string(got) != want {
			t.Errorf("%v: %s, %v, want %s", m, got, err, want)
		}
	}
	deep := structpb.NewNullValue()
	for range 100 {
		deep = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{deep}})
	}
	raw, err := proto.Marshal(deep)
	if err != nil {
		t.Fatal(err)
	}
	for what, a := range map[string]*Any{
		"nested deeper than 32": {TypeURL: typePrefix + "Value", Value: raw},
		"is not known":          {TypeURL: "type.googleapis.com/plant.Boiler"},
		"Duration of a value":   {TypeURL: typePrefix + "Duration"},
		"no form in JSON":       {TypeURL: typePrefix + "DoubleValue", Value: []byte{9, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f}},
		"UTF-8":                 {TypeURL: typePrefix + "StringValue", Value: []byte{10, 1, 0xff}},
	} {
		if got, err := ToJSON(a); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %s, %v", what, got, err)
		}
	}
	if _, err := AnyOf(json.RawMessage("1e999")); err == nil {
		t.Error("a number that 64 bits cannot hold is taken")
	}
}

// TestDevice has a spec with all its parts go through DMI and come back.
func TestDevice(t *testing.T) {
	spec := schema.DeviceSpec{
		ModelRef: schema.ModelRef{Name: "boiler-model"},
		Protocol: schema.Protocol{Name: "modbus", Config: schema.Options(`{"ip":"10.1.1.5","port":502,"ratio":0.30000000000000004,"serial":{"parity":"even","stop":[1,2]}}`)},
		Properties: []schema.Property{
			{Name: "plain"},
			{
				Name: "target", ReportCycle: 10000, CollectCycle: 2000, ReportToCloud: true,
				Visitors: &schema.Visitor{ProtocolName: "modbus", Config: schema.Options(`{"limit":1,"offset":3,"register":"HoldingRegister"}`)},
				PushMethod: &schema.PushMethod{
					HTTP: &schema.PushHTTP{HostName: "h", Port: 80, RequestPath: "/p", Timeout: 1000},
					MQTT: &schema.PushMQTT{Address: "tcp://b:1883", Topic: "t", QoS: 1, Retained: true},
					OTEL: &schema.PushOTEL{EndpointURL: "http://o:4318/v1/metrics"},
					DB: &schema.PushDB{
						InfluxDB2: &schema.PushInfluxDB2{
							Client: &schema.InfluxDB2ClientConfig{URL: "http://i:8086", Org: "o", Bucket: "b"},
							Data:   &schema.InfluxDB2DataConfig{Measurement: "m", Tag: map[string]string{"a": "b"}, FieldKey: "f"},
						},
						Redis:    &schema.PushRedis{Client: &schema.RedisClientConfig{Addr: "r:6379", DB: 1, PoolSize: 2, MinIdleConns: 3}},
						TDEngine: &schema.PushTDEngine{Client: &schema.TDEngineClientConfig{Addr: "t:6041", DBName: "d"}},
						MySQL:    &schema.PushMySQL{Client: &schema.MySQLClientConfig{Addr: "m:3306", Database: "d", UserName: "u"}},
					},
					AnomalyDetection: schema.Options(`{"above":3}`),
				},
			},
		},
		Methods:     []schema.Method{{Name: "all", Description: "d", PropertyNames: []string{"target", "plain"}}},
		StateReport: &schema.StateReport{ReportToCloud: true, ReportCycle: 5000},
	}
	dev, err := DeviceOf("plant/boiler", spec, map[string]Desired{"target": {Value: "45", Type: "int", Time: 1760000000000}})
	if err != nil {
		t.Fatal(err)
	}
	codec := NewCodec()
	b, err := codec.Append(nil, dev)
	if err != nil {
		t.Fatal(err)
	}
	var read Device
	if err := codec.Decode(b, &read); err != nil {
		t.Fatal(err)
	}
	again, desired, err := Spec(&read)
	if err != nil || !reflect.DeepEqual(again, spec) {
		t.Errorf("got %+v, %v, want %+v", again, err, spec)
	}
	if read.ID() != "plant/boiler" || !reflect.DeepEqual(desired, map[string]string{"target": "45"}) {
		t.Errorf("got %s with %v", read.ID(), desired)
	}
	// What a mapper of KubeEdge reads without a look whether it is there.
	for _, p := range dev.Spec.Properties {
		if p.Desired == nil || p.Visitors == nil || p.Visitors.ConfigData == nil || p.Visitors.ConfigData.Data == nil {
			t.Errorf("property %s has a part that is missing", p.Name)
		}
	}
	if dev.Status == nil || dev.Spec.Protocol.ConfigData == nil {
		t.Error("status or configData is missing")
	}
	if got := dev.Spec.Properties[1].Desired.Metadata; got["type"] != "int" || got["timestamp"] != "1760000000000" {
		t.Errorf("metadata of the desired value is %v", got)
	}
}
