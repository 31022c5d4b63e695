package main

import (
	"os"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/kubeedgeconfig"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestConvertedConfig checks what 'edgectl config convert' makes of a file of KubeEdge as this
// program checks its file.
func TestConvertedConfig(t *testing.T) {
	text, err := os.ReadFile("../internal/kubeedgeconfig/testdata/edgecore.yaml")
	if err != nil {
		t.Fatal(err)
	}
	result, err := kubeedgeconfig.Convert("edgecore.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	config, err := program.MarshalConfig(result.Settings)
	if err != nil {
		t.Fatal(err)
	}
	p := program.Program{Name: "edgecore", CLI: &cli{}}
	if err := p.ValidateConfig("edgecore.yaml", config); err != nil {
		t.Errorf("%v in\n%s", err, config)
	}
	for _, name := range kubeedgeconfig.Settings("edgecore") {
		if !p.HasSetting(name) {
			t.Errorf("the converter sets %s, which is no setting", name)
		}
	}
}
