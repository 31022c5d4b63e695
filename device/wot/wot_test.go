package wot

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden imports the Thing Descriptions of testdata and exports them again. The second
// import gives the same thing.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.td.json")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			thing, err := Decode(text)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".td.json")+".thing.json", marshal(t, thing))
			exported, lost, err := Encode(thing)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".td.json")+".export.json", string(exported)+lines(lost))
			again, err := Decode(exported)
			if err != nil {
				t.Fatal(err)
			}
			again.Lost, thing.Lost = nil, nil
			if len(thing.Device.Methods) > 0 || strings.Contains(lines(lost), "no form") {
				return // a Thing Model has no forms
			}
			if got, want := marshal(t, again), marshal(t, thing); got != want {
				t.Errorf("the export is read as\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func lines(lost []Loss) string {
	var b strings.Builder
	for _, l := range lost {
		fmt.Fprintln(&b, "LOST", l)
	}
	return b.String()
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw) + "\n"
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

func TestDecodeErrors(t *testing.T) {
	context := `"@context":"https://www.w3.org/2022/wot/td/v1.1"`
	var many strings.Builder
	for n := range maxProperties + 1 {
		fmt.Fprintf(&many, `,"p%d":{"type":"integer","description":%q}`, n, strings.Repeat("x", 200))
	}
	for name, test := range map[string]struct{ text, says string }{
		"no JSON":   {`{`, "unexpected end"},
		"no thing":  {`{"title":"x"}`, "@context"},
		"bad type":  {`{` + context + `,"properties":[]}`, "properties"},
		"bad op":    {`{` + context + `,"properties":{"a":{"forms":[{"op":1}]}}}`, "list of strings"},
		"too many":  {`{` + context + `,"properties":{` + many.String()[1:] + `}}`, "1024"},
		"too large": {`{` + context + strings.Repeat(" ", maxSize) + `}`, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// TestBudget has many short properties: each would take far more memory than its text.
func TestBudget(t *testing.T) {
	var many strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&many, `,"%d":{}`, n)
	}
	_, err := Decode([]byte(`{"@context":"https://www.w3.org/2022/wot/td/v1.1","properties":{` + many.String()[1:] + `}}`))
	var limit *jsonlimit.LimitError
	if !errors.As(err, &limit) {
		t.Errorf("got %v, want a LimitError", err)
	}
}

func TestEncodeModel(t *testing.T) {
	text, lost, err := Encode(Thing{Name: "m", Model: schema.DeviceModelSpec{Properties: []schema.ModelProperty{
		{Name: "a", Type: schema.TypeStream, DesiredBy: schema.DesiredByCloud, History: &schema.History{Values: 1}, Transform: &schema.Transform{Scale: "0.1", OnChange: true}, Minimum: "+1", Maximum: "x"},
	}}})
	if err != nil || !strings.Contains(string(text), `"tm:ThingModel"`) || strings.Contains(string(text), `"maximum"`) {
		t.Errorf("%v: %s", err, text)
	}
	for _, what := range []string{"a.type", "a.desiredBy", "a.history", "a.transform", "a.visitors"} {
		if !strings.Contains(lines(lost), what) {
			t.Errorf("the loss of %s is not named: %s", what, lines(lost))
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.td.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		thing, err := Decode(text)
		if err != nil {
			return
		}
		if len(thing.Model.Properties) != len(thing.Device.Properties) || len(thing.Lost) > maxLosses {
			t.Errorf("%d and %d properties, %d losses", len(thing.Model.Properties), len(thing.Device.Properties), len(thing.Lost))
		}
		out, _, err := Encode(thing)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(out)
		var limit *jsonlimit.LimitError
		if errors.As(err, &limit) {
			return
		}
		if err != nil {
			t.Fatalf("%v of %s", err, out)
		}
		for _, p := range thing.Model.Properties {
			if got := again.Model.Property(p.Name); got == nil || got.Type != p.Type || got.Minimum != p.Minimum {
				t.Fatalf("property %+v is %+v", p, got)
			}
		}
	})
}

func TestAttackDecoders(t *testing.T) {
	before := `{"@context":"https://www.w3.org/2022/wot/td/v1.1","properties":{"a":{"forms":[`
	decodetest.Search(t,
		decodetest.Case{Name: "wot_td", Before: before, Between: ",", After: `]}}}`, Tokens: decodetest.JSONTokens(),
			Units: []string{`{}`, `{"href":"modbus+tcp://a/1/2","modv:entity":"Coil"}`, `{"op":["a","b"]}`, `[]`, `{"href":"mqtt://a/b"}`},
			Whole: [][]byte{
				decodetest.Keys(`{"@context":"https://www.w3.org/2022/wot/td/v1.1","properties":{`, `{}`, `}}`),
				decodetest.Keys(`{"@context":"https://www.w3.org/2022/wot/td/v1.1","events":{`, `{"data":{"type":"integer"}}`, `}}`),
				decodetest.Keys(`{"@context":"https://www.w3.org/2022/wot/td/v1.1","actions":{`, `{}`, `}}`),
				decodetest.Keys(`{"@context":"https://www.w3.org/2022/wot/td/v1.1","properties":{`, `{"forms":[{"href":"http://a/b"}]}`, `}}`),
			},
			Decode: func(b []byte) { _, _ = Decode(b) }},
	)
}

func Example() {
	thing, err := Decode([]byte(`{
		"@context": "https://www.w3.org/2022/wot/td/v1.1",
		"title": "Boiler",
		"properties": {"target": {"type": "integer", "maximum": 80, "forms": [{"href": "modbus+tcp://10.1.1.5:502/1/3?quantity=1", "modv:entity": "HoldingRegister", "modv:zeroBasedAddressing": true}]}}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	p := thing.Model.Properties[0]
	fmt.Println(thing.Name, thing.Model.Protocol, thing.Device.Protocol.Config)
	fmt.Println(p.Name, p.Type, p.AccessMode, p.Maximum, p.Visitors.Config)
	// Output:
	// boiler modbus {"ip":"10.1.1.5","port":502,"slaveID":1}
	// target INT ReadWrite 80 {"limit":1,"offset":3,"register":"HoldingRegister"}
}

// TestEncodeCredentials has addresses with a user and password: a Thing Description, which others
// read, does not have them.
func TestEncodeCredentials(t *testing.T) {
	for protocol, config := range map[string]string{
		"http": `{"url":"https://user:hunter2@h/api"}`,
		"mqtt": `{"broker":"tcp://user:hunter2@h:1883","topic":"lamp"}`,
	} {
		text, lost, err := Encode(Thing{
			Name:   "lamp",
			Model:  schema.DeviceModelSpec{Properties: []schema.ModelProperty{{Name: "on", Type: schema.TypeBoolean, AccessMode: schema.ReadWrite, Visitors: &schema.Visitor{Config: schema.Options(`{"path":"on"}`)}}}},
			Device: schema.DeviceSpec{Protocol: schema.Protocol{Name: protocol, Config: schema.Options(config)}, Properties: []schema.Property{{Name: "on"}}},
		})
		if err != nil || !strings.Contains(string(text), "//h") || strings.Contains(string(text), "hunter2") {
			t.Errorf("%s: got %v, %s", protocol, err, text)
		}
		if !strings.Contains(fmt.Sprint(lost), "credentials are not written") {
			t.Errorf("%s: lost are %v", protocol, lost)
		}
	}
}
