package device

import (
	"encoding/json"
	"testing"
)

func TestConfigDecode(t *testing.T) {
	var spec Spec
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

func TestConfigRefusesWhatIsNoObject(t *testing.T) {
	for _, raw := range []string{`[]`, `"a"`, `7`, `true`, `{"a":`} {
		var c Config
		if err := c.UnmarshalJSON([]byte(raw)); err == nil {
			t.Errorf("%s was taken", raw)
		}
	}
	if _, err := NewConfig([]int{1}); err == nil {
		t.Error("a slice was taken")
	}
}

func TestSpecWithDefaults(t *testing.T) {
	model := ModelSpec{
		Protocol:       "modbus",
		ProtocolConfig: Config(`{"port":502,"ip":"0.0.0.0"}`),
		Properties: []ModelProperty{
			{Name: "a", Type: TypeInt, Visitors: &Visitor{ProtocolName: "modbus", Config: Config(`{"offset":1,"limit":1}`)}},
			{Name: "b", Type: TypeInt, Visitors: &Visitor{Config: Config(`{"offset":2}`)}},
		},
	}
	spec := Spec{
		Protocol: Protocol{Config: Config(`{"ip":"10.1.1.5"}`)},
		Properties: []Property{
			{Name: "a", Visitors: &Visitor{Config: Config(`{"offset":9}`)}}, {Name: "b"}, {Name: "c"},
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

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2]}}`), []byte(`{"a":1}`))
	f.Add([]byte(`null`), []byte(` {} `))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var x, y Config
		if x.UnmarshalJSON(a) != nil || y.UnmarshalJSON(b) != nil {
			return
		}
		merged, err := x.Merge(y)
		if err != nil {
			return
		}
		if _, err := json.Marshal(Spec{Protocol: Protocol{Config: merged}}); err != nil {
			t.Fatal(err)
		}
	})
}
