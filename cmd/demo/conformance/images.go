package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/cluster/image"
	"github.com/edgekit/edgekit/cmd/cluster/pki"
	"github.com/edgekit/edgekit/cmd/demo/site"
)

const registry = "registry.k8s.io/e2e-test-images/"

// importImages makes the images that the specs use and imports them, since none
// can be pulled: of Debian packages, busybox, and Kubernetes' own test programs.
func importImages(ctx context.Context, s *site.Site) error {
	if err := s.Install(ctx,
		devcluster.Package{Name: "mmdebstrap", Present: devcluster.Command("mmdebstrap")},
		devcluster.Busybox(),
	); err != nil {
		return err
	}
	debian := filepath.Join(filepath.Dir(s.Built("agnhost")), "e2e-debian.tar")
	if err := makeDebian(ctx, debian); err != nil {
		return err
	}
	images, err := testImages(ctx, s, debian)
	if err != nil {
		return err
	}
	archive := filepath.Join(s.Dir(), "e2e-images.tar")
	defer func() { _ = os.Remove(archive) }() // it goes with the cluster's folder anyway
	f, err := os.OpenFile(archive, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := image.Write(f, images...); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return s.Import(ctx, archive)
}

// makeDebian makes the root of the larger images, once: the programs that specs
// call in agnhost's image, nginx, and the user that one spec looks for.
func makeDebian(ctx context.Context, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	fmt.Println("  making a Debian root for the images (a minute or more)")
	tmp := strings.TrimSuffix(file, ".tar") + ".tmp.tar"
	defer func() { _ = os.Remove(tmp) }() // gone already when all went well
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--variant=minbase",
		"--include=bash,curl,netcat-openbsd,iproute2,bind9-dnsutils,iperf,socat,procps,util-linux,net-tools,nginx-light",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		`--customize-hook=chroot "$1" useradd -u 1000 user-defined-in-image`,
		`--customize-hook=chroot "$1" groupadd -g 50000 group-defined-in-image`,
		`--customize-hook=chroot "$1" usermod -aG group-defined-in-image user-defined-in-image`,
		"bookworm", tmp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mmdebstrap: %w: %s", err, out)
	}
	return os.Rename(tmp, file)
}

// testImages lists the images by the names in the suite's own list
// (test/utils/image/manifest.go).
func testImages(ctx context.Context, s *site.Site, debian string) ([]image.Image, error) {
	ca, err := pki.NewAuthority("e2e")
	if err != nil {
		return nil, err
	}
	pair, err := ca.Issue(pki.Request{CommonName: "localhost", Hosts: []string{"localhost"}})
	if err != nil {
		return nil, err
	}
	localhost := filepath.Join(s.Dir(), "localhost")
	if err := pair.Write(localhost); err != nil {
		return nil, err
	}
	box, err := devcluster.BusyboxFiles(ctx, s.Dir())
	if err != nil {
		return nil, err
	}
	return []image.Image{
		{Refs: []string{"registry.k8s.io/pause:3.10.2"}, Entrypoint: []string{"/pause"}, Files: []image.File{{Path: "/pause", Source: s.ImageProgram("pause")}}},
		{Refs: []string{registry + "busybox:1.37.0-2", "docker.io/library/busybox:latest"}, Cmd: []string{"sh"}, Files: box},
		{Refs: []string{registry + "nonroot:1.5"}, Cmd: []string{"sh"}, User: "1234", Files: box},
		{Refs: []string{registry + "nonewprivs:1.4"}, Cmd: []string{"nnp"},
			Files: append(slices.Clone(box), image.File{Path: "/usr/local/bin/nnp", Source: s.Built("nnp"), Mode: 0o4755})},
		{Refs: []string{hostpathImage}, Cmd: []string{"sh"}, Files: append(slices.Clone(box), image.File{Path: "/hostpathplugin", Source: s.Program("hostpathplugin"), Mode: 0o755})},
		{Refs: []string{registry + "glibc-dns-testing:2.1.1", registry + "ipc-utils:1.4"}, Cmd: []string{"sh"}, Base: debian},
		{Refs: []string{registry + "nginx:1.27.0-2", registry + "nginx:1.28.0-2", "docker.io/library/nginx:latest"}, Cmd: []string{"nginx", "-g", "daemon off;"}, Base: debian},
		{Refs: []string{registry + "agnhost:2.66.1", registry + "agnhost:2.55"}, Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, Base: debian,
			Files: []image.File{
				{Path: "/agnhost", Source: s.Built("agnhost")}, {Path: "/agnhost-2", Link: "agnhost"},
				{Path: "/localhost.crt", Source: localhost + ".crt", Mode: 0o644}, {Path: "/localhost.key", Source: localhost + ".key", Mode: 0o644},
				{Path: "/uploads/.keep", Source: os.DevNull, Mode: 0o644},
			}},
	}, nil
}
