package schema

import (
	"encoding/json"
	"testing"
)

func TestOptionsDecode(t *testing.T) {
	var spec DeviceSpec
	raw := `{"deviceModelRef":{"name":"boiler-model"},"protocol":{"protocolName":"modbus","configData":{"ip":"10.1.1.5","port":502}}}`
	if err := json.Unmarshal([]byte(raw), &spec); err != nil {
		t.Fatal(err)
	}
	link := struct {
		IP   string
		Port int
		Unit int
	}{Unit: 1}
	if err := spec.Protocol.Config.Decode(&link); err != nil {
		t.Fatal(err)
	}
	if link.IP != "10.1.1.5" || link.Port != 502 || link.Unit != 1 {
		t.Errorf("decoded %+v", link)
	}
	again, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != raw {
		t.Errorf("round trip gave %s", again)
	}
}

func TestOptionsRefuseWhatIsNoObject(t *testing.T) {
	for _, raw := range []string{`[]`, `"a"`, `7`, `true`, `{"a":`} {
		var c Options
		if err := c.UnmarshalJSON([]byte(raw)); err == nil {
			t.Errorf("%s was taken", raw)
		}
	}
	if _, err := NewOptions([]int{1}); err == nil {
		t.Error("a slice was taken")
	}
}

func TestSpecWithDefaults(t *testing.T) {
	model := DeviceModelSpec{
		Protocol:       "modbus",
		ProtocolConfig: Options(`{"port":502,"ip":"0.0.0.0"}`),
		Properties: []ModelProperty{
			{Name: "a", Type: TypeInt, Visitors: &Visitor{ProtocolName: "modbus", Config: Options(`{"offset":1,"limit":1}`)}},
			{Name: "b", Type: TypeInt, Visitors: &Visitor{Config: Options(`{"offset":2}`)}},
		},
	}
	spec := DeviceSpec{
		Protocol: Protocol{Config: Options(`{"ip":"10.1.1.5"}`)},
		Properties: []Property{
			{Name: "a", Visitors: &Visitor{Config: Options(`{"offset":9}`)}}, {Name: "b"}, {Name: "c"},
		},
	}
	got, err := spec.WithDefaults(model)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`{"ip":"10.1.1.5","port":502}`, `{"limit":1,"offset":9}`, `{"offset":2}`}
	have := []string{got.Protocol.Config.String(), got.Properties[0].Visitors.Config.String(), got.Properties[1].Visitors.Config.String()}
	for i := range want {
		if have[i] != want[i] {
			t.Errorf("%d: got %s, want %s", i, have[i], want[i])
		}
	}
	if got.Protocol.Name != "modbus" || got.Properties[0].Visitors.ProtocolName != "modbus" || got.Properties[2].Visitors != nil {
		t.Errorf("got %+v", got)
	}
	if spec.Properties[0].Visitors.Config.String() != `{"offset":9}` || spec.Properties[1].Visitors != nil {
		t.Error("the caller's spec was changed")
	}
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2]}}`), []byte(`{"a":1}`))
	f.Add([]byte(`null`), []byte(` {} `))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var x, y Options
		if x.UnmarshalJSON(a) != nil || y.UnmarshalJSON(b) != nil {
			return
		}
		merged, err := x.Merge(y)
		if err != nil {
			return
		}
		if _, err := json.Marshal(DeviceSpec{Protocol: Protocol{Config: merged}}); err != nil {
			t.Fatal(err)
		}
	})
}
