package packages

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/apk"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"

	"github.com/edgekit/edgekit/cmd/release/programs"
)

//go:embed files
var embedded embed.FS

// Build is what packages are made of.
type Build struct {
	Source   string // root folder of edgekit's source: units and the licence are there
	Programs string // folder with the programs of the platform
	Platform programs.Platform
	Version  string    // v1.2.3
	Time     time.Time // of all files
}

// names of the packages: the project's name, so that a search finds all of them, and that of the
// program and its unit, which people look for.
const (
	edgecore  = "edgekit-edgecore"
	cloudcore = "edgekit-cloudcore"
	edgectl   = "edgekit-edgectl"
	keadm     = "edgekit-keadm"
)

// Write makes the packages of one platform in the folder out. The package edgekit-keadm fits all
// platforms and is made again with the same bytes.
func (b Build) Write(ctx context.Context, out string) error {
	return b.writeAll(ctx, out, []describe{b.edgecore, b.cloudcore, b.edgectl, b.keadm}, "deb", "rpm", "apk")
}

// WriteEdgecore writes the Debian package of edgecore alone, for a machine that is set up from the
// source itself.
func (b Build) WriteEdgecore(ctx context.Context, out string) error {
	return b.writeAll(ctx, out, []describe{b.edgecore}, "deb")
}

// describe describes a package whose files are in the folder dir.
type describe func(dir string) *nfpm.Info

// writeAll makes some packages in some formats.
func (b Build) writeAll(ctx context.Context, out string, packages []describe, formats ...string) error {
	v, err := parseVersion(b.Version)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "edgekit-packages-")
	if err != nil {
		return fmt.Errorf("packages: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := unpack(work, b.Time); err != nil {
		return err
	}
	for _, info := range packages {
		for _, format := range formats {
			if err := ctx.Err(); err != nil {
				return err
			}
			info := info(work)
			b.common(info, format, v)
			if err := write(info, format, out); err != nil {
				return fmt.Errorf("packages: %s.%s: %w", info.Name, format, err)
			}
		}
	}
	return nil
}

// unpack writes the embedded files to the folder: nfpm reads files by their path, and takes the
// times of scripts from them.
func unpack(dir string, mtime time.Time) error {
	entries, err := embedded.ReadDir("files")
	if err != nil {
		return fmt.Errorf("packages: %w", err)
	}
	for _, e := range entries {
		body, err := embedded.ReadFile("files/" + e.Name())
		if err != nil {
			return fmt.Errorf("packages: %w", err)
		}
		path := filepath.Join(dir, e.Name())
		if err := errors.Join(os.WriteFile(path, body, 0o600), os.Chtimes(path, mtime, mtime)); err != nil {
			return fmt.Errorf("packages: %w", err)
		}
	}
	return nil
}

func write(info *nfpm.Info, format, out string) error {
	packager := map[string]nfpm.Packager{"deb": deb.Default, "rpm": rpm.DefaultRPM, "apk": apk.Default}[format]
	info = nfpm.WithDefaults(info)
	var body bytes.Buffer
	name := packager.ConventionalFileName(info)
	if err := packager.Package(info, &body); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, name), body.Bytes(), 0o644)
}

// common sets what all packages have.
func (b Build) common(info *nfpm.Info, format string, v version) {
	info.MTime, info.Umask, info.DisableGlobbing = b.Time, 0o022, true
	info.VersionSchema, info.Platform = "none", "linux"
	info.Maintainer, info.Vendor = "edgekit <edgekit@example.invalid>", "edgekit"
	info.Homepage, info.License = "https://github.com/edgekit/edgekit", "Apache-2.0"
	info.Section, info.Priority = "admin", "optional"
	info.RPM.BuildHost, info.RPM.Group = "edgekit", "System Environment/Daemons"
	info.RPM.Summary, _, _ = strings.Cut(info.Description, "\n")
	info.RPM.Compression, info.Deb.Compression = "gzip", "gzip"
	if info.Arch == "" {
		info.Arch = b.Platform.Arch
		info.Deb.Arch, info.RPM.Arch, info.APK.Arch = b.Platform.Deb, b.Platform.RPM, b.Platform.APK
	}
	info.Contents = append(info.Contents, b.file(filepath.Join(b.Source, "LICENSE"), "/usr/share/doc/"+info.Name+"/copyright", 0o644))
	switch format {
	case "deb":
		info.Version, info.Release = v.deb, "1"
	case "rpm":
		info.Version, info.Release = v.deb, "1" // the same form: a tilde sorts before everything
		info.Replaces = nil                     // it would be Obsoletes, which replaces packages at an upgrade
	case "apk":
		info.Version, info.Release = v.apk, "r0"
		info.Description = info.RPM.Summary // the format has no second line
		info.Recommends, info.Conflicts, info.Replaces = nil, nil, nil
		info.APK.Scripts.PostUpgrade = info.Scripts.PostInstall
	}
}

func (b Build) file(source, path string, mode os.FileMode) *files.Content {
	return &files.Content{Source: source, Destination: path, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: b.Time}}
}

func (b Build) folder(path string) *files.Content {
	return &files.Content{Destination: path, Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: 0o755, MTime: b.Time}}
}

// config is a file that the user may change: it is never overwritten.
func (b Build) config(source, path string) *files.Content {
	c := b.file(source, path, 0o644)
	c.Type = files.TypeConfigNoReplace
	return c
}

func only(format string, c *files.Content) *files.Content {
	c.Packager = format
	return c
}

func (b Build) program(name string) *files.Content {
	return b.file(filepath.Join(b.Programs, name), "/usr/bin/"+name, 0o755)
}

// service is the program's unit for systemd, and its script for OpenRC in Alpine packages.
func (b Build) service(dir, name string) files.Contents {
	unit := filepath.Join(b.Source, "cmd", name, name+".service")
	path := "/usr/lib/systemd/system/" + name + ".service"
	return files.Contents{
		only("deb", b.file(unit, path, 0o644)),
		only("rpm", b.file(unit, path, 0o644)),
		only("apk", b.file(filepath.Join(dir, name+".initd"), "/etc/init.d/"+name, 0o755)),
	}
}

func scripts(dir, name string) nfpm.Scripts {
	path := func(script string) string { return filepath.Join(dir, name+"."+script) }
	return nfpm.Scripts{PostInstall: path("postinstall"), PreRemove: path("preremove"), PostRemove: path("postremove")}
}

func (b Build) edgecore(dir string) *nfpm.Info {
	return &nfpm.Info{
		Name: edgecore,
		Description: "agent that makes a machine a node of a Kubernetes cluster\n" +
			"edgecore runs pods through the container runtime of the machine, and MQTT devices, with or without\n" +
			"a connection to the cloud. edgectl is its tool: 'edgectl join' makes the machine a node.",
		Overridables: nfpm.Overridables{
			Contents: append(b.service(dir, "edgecore"),
				b.program("edgecore"), b.program("edgectl"), b.program("edgepipe"),
				b.folder("/etc/edgekit"), b.folder("/etc/edgekit/trust"),
				b.config(filepath.Join(dir, "edgecore.yaml"), "/etc/edgekit/edgecore.yaml")),
			Scripts: scripts(dir, "edgecore"),
			// It has edgectl itself, so that one file makes a node.
			Provides: []string{edgectl}, Conflicts: []string{edgectl}, Replaces: []string{edgectl},
			Recommends: []string{"containerd"},
		},
	}
}

func (b Build) cloudcore(dir string) *nfpm.Info {
	return &nfpm.Info{
		Name: cloudcore,
		Description: "cloud side of edge nodes of a Kubernetes cluster\n" +
			"cloudcore keeps the links of all edge nodes. Commonly it runs in the cluster ('edgectl init');\n" +
			"this package is for a machine beside it.",
		Overridables: nfpm.Overridables{
			Contents: append(b.service(dir, "cloudcore"),
				b.program("cloudcore"),
				only("deb", b.file(filepath.Join(dir, "sysusers.conf"), "/usr/lib/sysusers.d/edgekit.conf", 0o644)),
				only("rpm", b.file(filepath.Join(dir, "sysusers.conf"), "/usr/lib/sysusers.d/edgekit.conf", 0o644)),
				b.folder("/etc/edgekit"),
				b.config(filepath.Join(dir, "cloudcore.yaml"), "/etc/edgekit/cloudcore.yaml")),
			Scripts: scripts(dir, "cloudcore"),
		},
	}
}

func (b Build) edgectl(string) *nfpm.Info {
	return &nfpm.Info{
		Name: edgectl,
		Description: "tool of the operator of edge nodes\n" +
			"For a workstation. On a node the package edgekit-edgecore has it.",
		Overridables: nfpm.Overridables{Contents: files.Contents{b.program("edgectl")}},
	}
}

// keadm is a package of its own, so that nobody gets it who has KubeEdge's own keadm.
func (b Build) keadm(dir string) *nfpm.Info {
	return &nfpm.Info{
		Name: keadm, Arch: "all",
		Description: "keadm, for those used to it, as a name of edgectl\n" +
			"It answers with the line of edgectl to type.",
		Overridables: nfpm.Overridables{
			Contents: files.Contents{{
				Source: "edgectl", Destination: "/usr/bin/keadm", Type: files.TypeSymlink,
				FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: os.ModeSymlink | 0o777, MTime: b.Time},
			}},
			Scripts: nfpm.Scripts{PreInstall: filepath.Join(dir, "keadm.preinstall")},
			Depends: []string{edgectl},
		},
	}
}
