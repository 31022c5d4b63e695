package artifact

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/edged/upgrade"
)

// maxHeader is how many bytes the headers of one entry may have.
const maxHeader = 8 << 10

// maxPadding is how many zero bytes may follow the end of a layer's tar.
const maxPadding = 64 << 10

// unpacked describes the program of a layer.
type unpacked struct {
	digest string
	size   int64
}

// unpack writes the two programs of a verified layer into the destination, durably. It leaves
// nothing there if it fails, except in a crash.
func (a *attempt) unpack(layer io.Reader, d ocispec.Descriptor) (unpacked, error) {
	if err := a.room(a.to.Dir, unpackedFor(d)); err != nil {
		return unpacked{}, err
	}
	root, err := os.OpenRoot(a.to.Dir)
	if err != nil {
		return unpacked{}, fmt.Errorf("upgrade: %w", err)
	}
	program, err := unpackTo(root, layer, a.cfg)
	if err != nil {
		for _, name := range []string{upgrade.Program, upgrade.Control} {
			_ = root.Remove(name) // it may not be there; the folder is removed later
		}
	}
	return program, errors.Join(err, root.Close())
}

func unpackTo(root *os.Root, layer io.Reader, cfg Config) (program unpacked, err error) {
	zipped, err := gzip.NewReader(bufio.NewReader(layer))
	if err != nil {
		return program, refuse("layer", "it is not compressed with gzip: %v", err)
	}
	bounded := &allowance{r: zipped}
	archive := tar.NewReader(bounded)
	seen := make(map[string]bool)
	buffer := make([]byte, 16<<10)
	for {
		bounded.left = maxHeader
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return program, refuse("layer", "it is no tar: %v", err)
		}
		if err := checkEntry(header, seen, cfg.MaxFile); err != nil {
			return program, err
		}
		seen[header.Name] = true
		bounded.left = header.Size
		written, err := writeProgram(root, header, archive, cfg.Platform, buffer)
		if err != nil {
			return program, err
		}
		if header.Name == upgrade.Program {
			program = written
		}
	}
	if err := checkEnd(zipped, buffer); err != nil {
		return program, err
	}
	if !seen[upgrade.Program] || !seen[upgrade.Control] {
		return program, refuse("layer", "it must have the files %s and %s", upgrade.Program, upgrade.Control)
	}
	dir, err := root.Open(".")
	if err != nil {
		return program, fmt.Errorf("upgrade: %w", err)
	}
	return program, errors.Join(dir.Sync(), dir.Close())
}

// allowance reads no more than left, so that no header makes a reader go on for long.
type allowance struct {
	r    io.Reader
	left int64
}

var errAllowance = errors.New("a header is too large")

func (a *allowance) Read(b []byte) (int, error) {
	if a.left <= 0 {
		return 0, errAllowance
	}
	n, err := a.r.Read(b[:min(int64(len(b)), a.left)])
	a.left -= int64(n)
	return n, err
}

// checkEntry refuses everything but one regular file for each of the two names.
func checkEntry(h *tar.Header, seen map[string]bool, most int64) error {
	switch {
	case h.Name != upgrade.Program && h.Name != upgrade.Control:
		return refuse("layer", "entry %.80q: only %s and %s are allowed", h.Name, upgrade.Program, upgrade.Control)
	case h.Typeflag != tar.TypeReg:
		return refuse("layer", "entry %s has type %q: only regular files are allowed", h.Name, h.Typeflag)
	case seen[h.Name]:
		return refuse("layer", "entry %s is there twice", h.Name)
	case h.Size < 1 || h.Size > most:
		return refuse("layer", "entry %s has %d bytes: want 1 to %d", h.Name, h.Size, most)
	}
	for key := range h.PAXRecords {
		if key != "mtime" && key != "atime" && key != "ctime" {
			return refuse("layer", "entry %s has the extended header %.40q", h.Name, key)
		}
	}
	return nil
}

// writeProgram writes one program, which must be one for this platform.
func writeProgram(root *os.Root, h *tar.Header, content io.Reader, p Platform, buffer []byte) (unpacked, error) {
	head := make([]byte, min(20, h.Size))
	if _, err := io.ReadFull(content, head); err != nil {
		return unpacked{}, refuse("layer", "entry %s is cut off: %v", h.Name, err)
	}
	if err := checkProgram(head, p); err != nil {
		return unpacked{}, refuse("layer", "entry %s: %v", h.Name, err)
	}
	f, err := root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return unpacked{}, fmt.Errorf("upgrade: %w", err)
	}
	sum := sha256.New()
	sum.Write(head)
	_, err = f.Write(head)
	if err == nil {
		var n int64
		if n, err = io.CopyBuffer(io.MultiWriter(f, sum), content, buffer); err == nil && n != h.Size-int64(len(head)) {
			err = io.ErrUnexpectedEOF
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, tar.ErrHeader) {
		err = refuse("layer", "entry %s: %v", h.Name, err)
	}
	if err == nil {
		err = f.Chmod(0o755) // the umask of this program does not count
	}
	if err == nil && os.Geteuid() == 0 {
		err = f.Chown(0, 0)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return unpacked{}, err
	}
	return unpacked{"sha256:" + hex.EncodeToString(sum.Sum(nil)), h.Size}, nil
}

// machine gives the numbers of architectures in ELF files (the gABI's e_machine).
func machine(architecture string) (number uint16, class byte, ok bool) {
	switch architecture {
	case "amd64":
		return 62, 2, true
	case "arm64":
		return 183, 2, true
	case "arm":
		return 40, 1, true
	case "riscv64":
		return 243, 2, true
	case "386":
		return 3, 1, true
	}
	return 0, 0, false
}

// checkProgram looks at the first bytes of a program: an ELF file for the platform. The kernel
// might run another by an emulator.
func checkProgram(head []byte, p Platform) error {
	number, class, known := machine(p.Architecture)
	if p.OS != "linux" || !known {
		return nil
	}
	if len(head) < 20 || string(head[:4]) != "\x7fELF" || head[5] != 1 {
		return errors.New("it is no program (ELF)")
	}
	if head[4] != class || binary.LittleEndian.Uint16(head[18:]) != number {
		return fmt.Errorf("it is a program for machine %d and not for %s", binary.LittleEndian.Uint16(head[18:]), p)
	}
	return nil
}

// checkEnd refuses anything but padding after the tar.
func checkEnd(r io.Reader, buffer []byte) error {
	for total := 0; ; {
		n, err := r.Read(buffer)
		for _, b := range buffer[:n] {
			if b != 0 {
				return refuse("layer", "data follows the tar")
			}
		}
		if total += n; total > maxPadding {
			return refuse("layer", "more than %d bytes follow the tar", maxPadding)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return refuse("layer", "its end: %v", err)
		}
	}
}
