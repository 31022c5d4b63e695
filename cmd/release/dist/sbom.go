package dist

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	"github.com/rs/zerolog"

	"github.com/edgekit/edgekit/cmd/release/programs"
)

// sbom writes what is in a program, by the list of modules that Go puts into it, in the form of CycloneDX.
func (r Release) sbom(p programs.Platform, dir, name string) error {
	generator, err := bin.NewGenerator(filepath.Join(dir, name), bin.WithIncludeStdlib(true), bin.WithVersionOverride(r.Version), bin.WithLogger(zerolog.Nop()))
	if err != nil {
		return fmt.Errorf("dist: SBOM of %s: %w", name, err)
	}
	bom, err := generator.Generate()
	if err != nil {
		return fmt.Errorf("dist: SBOM of %s: %w", name, err)
	}
	bom.Metadata.Timestamp = r.Time.UTC().Format(time.RFC3339)
	bom.SerialNumber = ""
	var text bytes.Buffer
	encoder := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	if err := encoder.EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("dist: SBOM of %s: %w", name, err)
	}
	if err := os.WriteFile(r.path(name+"_"+r.Version+"_"+p.FileName()+".cdx.json"), text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("dist: %w", err)
	}
	return nil
}
