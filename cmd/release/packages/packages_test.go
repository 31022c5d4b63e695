package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/release/programs"
)

var when = time.Date(2026, 11, 30, 7, 0, 0, 0, time.UTC)

// build makes the packages of a version, with small files in place of the programs.
func build(t *testing.T, p programs.Platform, version string) string {
	t.Helper()
	bin, out := t.TempDir(), t.TempDir()
	for _, name := range programs.Names() {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho "+name+" "+version+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := Build{Source: "../../..", Programs: bin, Platform: p, Version: version, Time: when}
	if err := b.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func find(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v %v", pattern, found, err)
	}
	return found[0]
}

// contents are the files of each package: path and mode, folders that packages own with a slash.
func contents(pkg, format string) []string {
	files := map[string][]string{
		edgecore: {"0755 /usr/bin/edgecore", "0755 /usr/bin/edgectl", "0755 /usr/bin/edgepipe", "0755 /etc/edgekit/", "0755 /etc/edgekit/trust/", "0644 /etc/edgekit/edgecore.yaml"},
		cloudcore: {
			"0755 /usr/bin/cloudcore", "0755 /etc/edgekit/", "0644 /etc/edgekit/cloudcore.yaml",
		},
		edgectl: {"0755 /usr/bin/edgectl"},
		keadm:   {"0777 /usr/bin/keadm"},
	}[pkg]
	files = append(slices.Clone(files), "0644 /usr/share/doc/"+pkg+"/copyright")
	name := strings.TrimPrefix(pkg, "edgekit-")
	switch {
	case pkg != edgecore && pkg != cloudcore:
	case format == "apk":
		files = append(files, "0755 /etc/init.d/"+name)
	default:
		files = append(files, "0644 /usr/lib/systemd/system/"+name+".service")
		if pkg == cloudcore {
			files = append(files, "0644 /usr/lib/sysusers.d/edgekit.conf")
		}
	}
	slices.Sort(files)
	return files
}

// TestContents: every package of every platform has its files and no others, owned by root,
// with modes that let nobody else write, all of the time that was asked for.
func TestContents(t *testing.T) {
	for _, p := range programs.Platforms() {
		out := build(t, p, "v0.1.0")
		for _, pkg := range []string{edgecore, cloudcore, edgectl, keadm} {
			deb, apk := p.Deb, p.APK
			if pkg == keadm {
				deb, apk = "all", "noarch"
			}
			t.Run(p.String()+"/"+pkg+"/deb", func(t *testing.T) {
				checkTar(t, debFiles(t, filepath.Join(out, pkg+"_0.1.0-1_"+deb+".deb")), contents(pkg, "deb"))
			})
			t.Run(p.String()+"/"+pkg+"/apk", func(t *testing.T) {
				checkTar(t, apkFiles(t, filepath.Join(out, pkg+"_0.1.0-r0_"+apk+".apk")), contents(pkg, "apk"))
			})
		}
	}
}

func debFiles(t *testing.T, file string) io.Reader {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb")
	}
	body, err := exec.CommandContext(t.Context(), "dpkg-deb", "--fsys-tarfile", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(body)
}

// apkFiles reads an Alpine package: gzip streams of which the first has the scripts.
func apkFiles(t *testing.T, file string) io.Reader {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func checkTar(t *testing.T, r io.Reader, want []string) {
	t.Helper()
	var have []string
	owned := map[string]bool{}
	for _, w := range want {
		owned[w[5:]] = true
	}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := "/" + strings.TrimPrefix(h.Name, "./")
		if strings.HasPrefix(name, "/.") { // the scripts of an Alpine package
			continue
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" && h.Uname != "" || h.Mode&0o22 != 0 && h.Typeflag != tar.TypeSymlink || h.Mode&0o7000 != 0 {
			t.Errorf("%s: mode %o, owner %d:%d %s", name, h.Mode, h.Uid, h.Gid, h.Uname)
		}
		if !h.ModTime.Equal(when) {
			t.Errorf("%s: time %s", name, h.ModTime)
		}
		if h.Typeflag == tar.TypeDir && !owned[name] {
			continue // folders above the files
		}
		if h.Typeflag == tar.TypeSymlink && h.Linkname != "edgectl" {
			t.Errorf("%s leads to %s", name, h.Linkname)
		}
		if h.Typeflag == tar.TypeSymlink {
			h.Mode = 0o777 // it has no meaning
		}
		have = append(have, fmt.Sprintf("%04o %s", h.Mode, name))
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("have\n %s\nwant\n %s", strings.Join(have, "\n "), strings.Join(want, "\n "))
	}
}

// TestRPM: rpm itself reads the packages.
func TestRPM(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("needs rpm")
	}
	for _, p := range programs.Platforms() {
		out := build(t, p, "v0.1.0-rc.1")
		for _, pkg := range []string{edgecore, cloudcore, edgectl, keadm} {
			arch := p.RPM
			if pkg == keadm {
				arch = "noarch"
			}
			file := filepath.Join(out, pkg+"-0.1.0~rc.1-1."+arch+".rpm")
			text, err := exec.CommandContext(t.Context(), "rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{ARCH} %{LICENSE}\n[%{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEMODES:perms} %{FILEFLAGS:fflags} %{FILENAMES}\n]", file).Output()
			if err != nil {
				t.Fatal(err)
			}
			first, files, _ := strings.Cut(string(text), "\n")
			if first != pkg+" 0.1.0~rc.1 "+arch+" Apache-2.0" {
				t.Error(first)
			}
			lines := strings.Split(strings.TrimSpace(files), "\n")
			if len(lines) != len(contents(pkg, "rpm")) {
				t.Errorf("%s has\n%s", pkg, files)
			}
			for _, line := range lines {
				f := strings.Fields(line)
				path := f[len(f)-1]
				mode := f[1]
				config := strings.HasSuffix(path, ".yaml")
				if f[0] != "root:root" || mode[0] != 'l' && (mode[5] == 'w' || mode[8] == 'w') || config != (len(f) == 4 && f[2] == "cn") {
					t.Errorf("%s: %s", pkg, line)
				}
			}
		}
	}
}

// TestControl: what Debian's tools see.
func TestControl(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb")
	}
	out := build(t, programs.Platforms()[2], "v1.2.3-rc.1")
	for pkg, want := range map[string]string{
		edgecore:  "edgekit-edgecore 1.2.3~rc.1-1 armhf [] [containerd] [edgekit-edgectl] [edgekit-edgectl] [edgekit-edgectl]",
		cloudcore: "edgekit-cloudcore 1.2.3~rc.1-1 armhf [] [] [] [] []",
		edgectl:   "edgekit-edgectl 1.2.3~rc.1-1 armhf [] [] [] [] []",
		keadm:     "edgekit-keadm 1.2.3~rc.1-1 all [edgekit-edgectl] [] [] [] []",
	} {
		file := find(t, out, pkg+"_*.deb")
		show := exec.CommandContext(t.Context(), "dpkg-deb", "--show", "--showformat", "${Package} ${Version} ${Architecture} [${Depends}] [${Recommends}] [${Provides}] [${Conflicts}] [${Replaces}]", file)
		text, err := show.Output()
		if err != nil || string(text) != want {
			t.Errorf("have %s\nwant %s %v", text, want, err)
		}
		conffiles, _ := exec.CommandContext(t.Context(), "dpkg-deb", "--info", file, "conffiles").Output()
		if config := strings.TrimPrefix(pkg, "edgekit-") + ".yaml"; strings.Contains(string(conffiles), config) != (pkg == edgecore || pkg == cloudcore) {
			t.Errorf("%s: conffiles %q", pkg, conffiles)
		}
	}
}

// TestScripts: no script uses the network, or starts or enables a service.
func TestScripts(t *testing.T) {
	entries, err := embedded.ReadDir("files")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"systemctl daemon-reload", "systemctl try-restart ", "systemctl disable --now "}
	for _, e := range entries {
		if !strings.Contains(e.Name(), ".pre") && !strings.Contains(e.Name(), ".post") {
			continue
		}
		body, err := embedded.ReadFile("files/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		check := exec.CommandContext(t.Context(), "sh", "-n")
		check.Stdin = bytes.NewReader(body)
		if text, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %s", e.Name(), text)
		}
		if !bytes.HasPrefix(body, []byte("#!/bin/sh\n")) || !bytes.Contains(body, []byte("\nset -e\n")) {
			t.Errorf("%s: want #!/bin/sh and set -e", e.Name())
		}
		for line := range strings.Lines(string(body)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "#") {
				continue
			}
			for _, word := range []string{"curl", "wget", "apt", "dnf", "http:", "https:", "rc-update add", "rc-service edgecore start", "rc-service cloudcore start"} {
				if strings.Contains(line, word) {
					t.Errorf("%s: %q has %s", e.Name(), line, word)
				}
			}
			if strings.Contains(line, "systemctl") && !slices.ContainsFunc(allowed, func(a string) bool { return strings.Contains(line, a) }) {
				t.Errorf("%s: %q: only %q", e.Name(), line, allowed)
			}
		}
	}
}

// TestUnits: the packaged unit starts the packaged program.
func TestUnits(t *testing.T) {
	for _, name := range []string{"edgecore", "cloudcore"} {
		body, err := os.ReadFile("../../" + name + "/" + name + ".service")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(body), "\nExecStart=/usr/bin/"+name) {
			t.Errorf("%s.service does not start /usr/bin/%s", name, name)
		}
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]version{
		"v1.2.3":       {"1.2.3", "1.2.3"},
		"v1.2.3-rc.1":  {"1.2.3~rc.1", "1.2.3_rc1"},
		"v1.2.3-beta2": {"1.2.3~beta2", "1.2.3_beta2"},
		"v0.0.0-20261130064219-538688b8c041+dirty": {"0.0.0~20261130064219.538688b8c041+dirty", "0.0.0_pre20261130064219"},
		"v0.0.0-devel": {"0.0.0~devel", "0.0.0_pre"},
	} {
		if have, err := parseVersion(text); err != nil || have != want {
			t.Errorf("%s: %+v %v, want %+v", text, have, err, want)
		}
	}
	for _, text := range []string{"", "1.2.3", "v1.2", "v1.2.3-", "v1.2.3 ", "v1.2.3-rc/1", "latest", "v1.2.3\n"} {
		if _, err := parseVersion(text); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestVersionOrder: the tools of Debian and RPM sort the versions as they are meant.
func TestVersionOrder(t *testing.T) {
	order := []string{"v0.0.0-20261130064219-538688b8c041", "v0.1.0-alpha.1", "v0.1.0-rc.1", "v0.1.0-rc.10", "v0.1.0", "v0.10.0"}
	for i := range order[1:] {
		a, _ := parseVersion(order[i])
		b, _ := parseVersion(order[i+1])
		if err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", a.deb+"-1", "lt", b.deb+"-1").Run(); err != nil && !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("dpkg: %s is not before %s", a.deb, b.deb)
		}
		text, err := exec.CommandContext(t.Context(), "rpm", "--eval", "%{lua:print(rpm.vercmp('"+a.deb+"', '"+b.deb+"'))}").Output()
		if err == nil && strings.TrimSpace(string(text)) != "-1" {
			t.Errorf("rpm: %s is not before %s: %s", a.deb, b.deb, text)
		}
	}
}

// TestSameBytes: packages depend on nothing but what they are made of.
func TestSameBytes(t *testing.T) {
	p := programs.Platforms()[0]
	a, b := build(t, p, "v0.1.0"), build(t, p, "v0.1.0")
	entries, err := os.ReadDir(a)
	if err != nil || len(entries) != 12 {
		t.Fatalf("%d packages, want 12: %v", len(entries), err)
	}
	for _, e := range entries {
		x, _ := os.ReadFile(filepath.Join(a, e.Name()))
		y, err := os.ReadFile(filepath.Join(b, e.Name()))
		if err != nil || !bytes.Equal(x, y) {
			t.Errorf("%s differs: %v", e.Name(), err)
		}
	}
}
