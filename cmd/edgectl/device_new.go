package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// newDevice has the files of a new mapper. In them NAME is its protocol, VERSION edgekit's.
//
//go:embed newdevice/*.txt
var newDevice embed.FS

type deviceNew struct {
	Name    string `arg:"" help:"Name of the protocol, the program and the folder: a DNS label."`
	Edgekit string `help:"Folder with edgekit's source, to build with that." placeholder:"DIR"`
}

var protocolName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Run writes the folder.
func (d *deviceNew) Run(out program.Output) error {
	if !protocolName.MatchString(d.Name) {
		return &program.UsageError{Setting: "name", Reason: fmt.Sprintf("%q must be a DNS label: a-z, 0-9 and -, a letter first", d.Name)}
	}
	files, err := newDeviceFiles(d.Name, d.Edgekit)
	if err != nil {
		return err
	}
	if err := os.Mkdir(d.Name, 0o755); err != nil {
		return &program.UsageError{Setting: "name", Reason: err.Error() + ": name a folder that is not there"}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d.Name, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%s has a mapper: cd %s && go mod tidy && go test ./...\n", d.Name, d.Name)
	return err
}

// newDeviceFiles returns the files of a new mapper by name.
func newDeviceFiles(name, edgekit string) (map[string]string, error) {
	list, err := fs.ReadDir(newDevice, "newdevice")
	if err != nil {
		return nil, err
	}
	version := "v0.0.0"
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
		version, _, _ = strings.Cut(info.Main.Version, "+") // no module has a version with +dirty
	}
	files := make(map[string]string)
	for _, f := range list {
		text, err := fs.ReadFile(newDevice, "newdevice/"+f.Name())
		if err != nil {
			return nil, err
		}
		files[strings.TrimSuffix(f.Name(), ".txt")] = strings.NewReplacer("NAME", name, "VERSION", version).Replace(string(text))
	}
	if edgekit != "" {
		dir, err := filepath.Abs(edgekit)
		if err == nil {
			_, err = os.Stat(filepath.Join(dir, "go.mod"))
		}
		if err != nil {
			return nil, &program.UsageError{Setting: "edgekit", Reason: err.Error() + ": name the folder of edgekit's source, with its go.mod"}
		}
		files["go.mod"] += "\nreplace github.com/edgekit/edgekit => " + strconv.Quote(dir) + "\n"
	}
	return files, nil
}
