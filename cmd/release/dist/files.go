package dist

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgekit/edgekit/cmd/release/archive"
	"github.com/edgekit/edgekit/cmd/release/programs"
)

// archive writes the programs of one platform and their units, for machines without packages.
func (r Release) archive(p programs.Platform, dir string) error {
	top := "edgekit_" + r.Version + "_" + p.FileName()
	entries := []archive.Entry{{Name: top + "/", Mode: 0o755}, {Name: top + "/LICENSE", Mode: 0o644, Source: filepath.Join(r.Source, "LICENSE")}}
	for _, name := range programs.Names() {
		entries = append(entries, archive.Entry{Name: top + "/" + name, Mode: 0o755, Source: filepath.Join(dir, name)})
	}
	for _, name := range []string{"cloudcore", "edgecore"} {
		unit := filepath.Join(r.Source, "cmd", name, name+".service")
		entries = append(entries, archive.Entry{Name: top + "/" + name + ".service", Mode: 0o644, Source: unit})
	}
	return archive.File(r.path(top+".tar.gz"), r.Time, entries...)
}

// chart packs the Helm chart if the source has one.
func (r Release) chart(context.Context) error {
	dir := filepath.Join(r.Source, "controller/install/chart")
	if _, err := os.Stat(filepath.Join(dir, "Chart.yaml")); err != nil {
		return nil
	}
	files, err := archive.Folder(dir, nil)
	if err != nil {
		return err
	}
	number := strings.TrimPrefix(r.Version, "v")
	entries := []archive.Entry{{Name: "edgekit/", Mode: 0o755}}
	for _, f := range files {
		if f.Name == "Chart.yaml" {
			if f.Body, err = stampChart(f.Source, number, r.Version); err != nil {
				return err
			}
			f.Source = ""
		}
		f.Name = "edgekit/" + f.Name
		entries = append(entries, f)
	}
	return archive.File(r.path("edgekit-chart_"+r.Version+".tar.gz"), r.Time, entries...)
}

// stampChart returns Chart.yaml with the version of the release.
func stampChart(file, number, tag string) ([]byte, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("dist: %w", err)
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(body)) {
		switch key, _, _ := strings.Cut(line, ":"); key {
		case "version":
			line = "version: " + number + "\n"
		case "appVersion":
			line = "appVersion: " + tag + "\n"
		}
		out.WriteString(line)
	}
	return out.Bytes(), nil
}

// sums writes the sums of all files, and their signature.
func (r Release) sums() error {
	entries, err := os.ReadDir(r.Out)
	if err != nil {
		return fmt.Errorf("dist: %w", err)
	}
	var text bytes.Buffer
	for _, e := range entries { // sorted by name
		sum, err := fileSum(r.path(e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", sum, e.Name())
	}
	if err := os.WriteFile(r.path(sumsFile), text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("dist: %w", err)
	}
	if r.Signer == nil {
		return nil
	}
	signature, err := r.Signer.Blob(text.Bytes())
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.path(signatureFile), []byte(signature), 0o644); err != nil {
		return fmt.Errorf("dist: %w", err)
	}
	key, err := r.Signer.PublicKey()
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.path(keyFile), key, 0o644); err != nil {
		return fmt.Errorf("dist: %w", err)
	}
	return nil
}

func fileSum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("dist: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("dist: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// bundle writes one archive with all files, to carry to a site without a network.
func (r Release) bundle() error {
	top := "edgekit_" + r.Version + "_offline"
	files, err := archive.Folder(r.Out, nil)
	if err != nil {
		return err
	}
	entries := []archive.Entry{{Name: top + "/", Mode: 0o755}, {Name: top + "/README.md", Mode: 0o644, Source: filepath.Join(r.Source, "cmd/release/README.md")}}
	for _, f := range files {
		f.Name = top + "/" + f.Name
		entries = append(entries, f)
	}
	r.logf("offline bundle")
	return archive.File(r.path(top+".tar"), r.Time, entries...)
}
