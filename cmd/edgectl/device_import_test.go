package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestDeviceImport imports a Thing Description and a profile, and exports the first again.
func TestDeviceImport(t *testing.T) {
	var out bytes.Buffer
	in := deviceImport{File: "../../device/wot/testdata/http.td.json", From: "auto", Device: "pump-1", Node: "edge-7", spaceFlag: spaceFlag{Space: "plant"}}
	if err := in.Run(t.Context(), program.Output{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: DeviceModel", "name: heatpump", "namespace: plant", "---\n", "kind: Device\n", "name: pump-1", "nodeName: edge-7", "url: https://10.0.0.5:8443"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the import has no %q:\n%s", want, out.String())
		}
	}
	file := filepath.Join(t.TempDir(), "pump.yaml")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := (&deviceExport{File: file}).Run(t.Context(), program.Output{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"title": "pump-1"`, "https://www.w3.org/2022/wot/td/v1.1", `"maximum": 30.5`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the export has no %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	in = deviceImport{File: "../../device/edgexprofile/testdata/thermostat.profile.yaml", From: "auto", Name: "t8", spaceFlag: spaceFlag{Space: "plant"}}
	if err := in.Run(t.Context(), program.Output{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "name: t8") || strings.Contains(out.String(), "kind: Device\n") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestDeviceImportErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	model := "apiVersion: devices.kubeedge.io/v1beta1\nkind: DeviceModel\nmetadata: {name: m}\nspec: {properties: [{name: a, type: INT}]}\n"
	for name, test := range map[string]struct {
		run  func(program.Output) error
		says string
	}{
		"no file":    {func(o program.Output) error { return (&deviceImport{File: dir + "/none"}).Run(t.Context(), o) }, "none"},
		"node alone": {func(o program.Output) error { return (&deviceImport{Node: "edge-1"}).Run(t.Context(), o) }, "--device"},
		"neither": {func(o program.Output) error {
			return (&deviceImport{File: write("x", "kind: Pod"), From: "auto"}).Run(t.Context(), o)
		}, "deviceResources"},
		"no thing": {func(o program.Output) error {
			return (&deviceImport{File: write("y", "{}"), From: "wot"}).Run(t.Context(), o)
		}, "@context"},
		"no model": {func(o program.Output) error {
			return (&deviceExport{File: write("z", "kind: Pod")}).Run(t.Context(), o)
		}, "one DeviceModel"},
		"another model": {func(o program.Output) error {
			return (&deviceExport{File: write("w", model+"---\nkind: Device\nmetadata: {name: d}\nspec: {deviceModelRef: {name: other}}\n")}).Run(t.Context(), o)
		}, `"other"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.run(program.Output{Writer: new(bytes.Buffer)})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}
