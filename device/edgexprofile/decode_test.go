package edgexprofile

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden imports the profiles of testdata. Each property's transform is one that the SDK
// takes.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.profile.*")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			profile, err := Decode(text)
			if err != nil {
				t.Fatal(err)
			}
			for n := range profile.Model.Properties {
				p := &profile.Model.Properties[n]
				if _, err := device.NewTransform(p, p.Visitors); err != nil {
					t.Errorf("property %s: %v", p.Name, err)
				}
			}
			got, err := json.MarshalIndent(profile, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := file[:strings.Index(file, ".profile.")] + ".golden.json"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got)+"\n" != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	for name, test := range map[string]struct{ text, says string }{
		"no YAML":    {"a: [", "yaml"},
		"no profile": {"kind: Pod", "deviceResources"},
		"bad number": {`{"name":"x","deviceResources":[{"name":"a","properties":{"scale":"ten"}}]}`, "want a number"},
		"too large":  {"name: x\n" + strings.Repeat(" ", maxYAML), "bytes"},
		"too many":   {`{"name":"x","deviceResources":[` + strings.Repeat(`{"name":"`+strings.Repeat("y", 130)+`"},`, 5) + `{}` + `]`, "unexpected"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// TestBudget has many short resources: each would take far more memory than its text.
func TestBudget(t *testing.T) {
	var many strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&many, `,{"name":"%d"}`, n)
	}
	_, err := Decode([]byte(`{"name":"x","deviceResources":[` + many.String()[1:] + `]}`))
	var limit *jsonlimit.LimitError
	if !errors.As(err, &limit) {
		t.Errorf("got %v, want a LimitError", err)
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.profile.*")
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
		profile, err := Decode(text)
		if err != nil {
			return
		}
		if len(profile.Model.Properties) != len(profile.Device.Properties) || len(profile.Lost) > maxLosses || profile.Name == "" {
			t.Errorf("%d and %d properties, %d losses, name %q", len(profile.Model.Properties), len(profile.Device.Properties), len(profile.Lost), profile.Name)
		}
	})
}

func TestAttackDecoders(t *testing.T) {
	decodetest.Search(t,
		decodetest.Case{Name: "edgex_profile", Before: `{"name":"x","deviceResources":[`, Between: ",", After: `]}`, Tokens: decodetest.JSONTokens(),
			Units: []string{
				`{}`, `{"name":"a","attributes":{"a":0}}`, `{"attributes":{"primaryTable":"COILS"}}`, `[]`, `{"properties":{"scale":"2","mask":"1"}}`,
			},
			Whole: [][]byte{
				decodetest.Keys(`{"name":"x","deviceResources":[{"attributes":{`, `0`, `}}]}`),
				decodetest.Keys(`{"name":"x","deviceResources":[{"name":"a"}],"deviceCommands":[{"resourceOperations":[{"deviceResource":"a","mappings":{`, `""`, `}}]}]}`),
				[]byte(`{"name":"x","deviceResources":[{}],"deviceCommands":[` + strings.Repeat("{},", 1000) + `{}]}`),
			},
			Decode: func(b []byte) { _, _ = Decode(b) }},
	)
}

func Example() {
	profile, err := Decode([]byte(`
name: Thermostat
deviceResources:
- name: Temperature
  attributes: {primaryTable: INPUT_REGISTERS, startingAddress: 10, rawType: Int16}
  properties: {valueType: Float32, readWrite: R, units: C, scale: 0.1}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	p := profile.Model.Properties[0]
	fmt.Println(profile.Name, profile.Model.Protocol)
	fmt.Println(p.Name, p.Type, p.AccessMode, p.Unit, p.Transform.RawType, p.Transform.Scale, p.Visitors.Config)
	// Output:
	// thermostat modbus
	// Temperature FLOAT ReadOnly C INT16 0.1 {"limit":1,"offset":10,"register":"InputRegister"}
}
