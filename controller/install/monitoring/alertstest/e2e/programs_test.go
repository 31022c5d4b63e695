package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// root is the folder of the repository.
const root = "../../../../.."

// program is a program of this repository or another that the test starts, stops and starts again.
type program struct {
	path     string // its name up to a hyphen is the one by which it reads its settings
	args     []string
	settings map[string]string // edgecore's and cloudcore's, in the environment

	log  *os.File
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

func newProgram(t *testing.T, path string, settings map[string]string, args ...string) *program {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), filepath.Base(path)+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{path: path, args: args, settings: settings, log: log}
	t.Cleanup(func() {
		p.stop()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s %v:\n%s", path, settings["data-dir"], text[max(0, len(text)-4000):])
		}
	})
	return p
}

func (p *program) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = os.Environ()
	prefix, _, _ := strings.Cut(filepath.Base(p.path), "-")
	for name, value := range p.settings {
		cmd.Env = append(cmd.Env, strings.ToUpper(prefix+"_"+strings.ReplaceAll(name, "-", "_"))+"="+value)
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	p.cmd, p.gone = cmd, gone
	go func() { // ends with the program, which stop kills
		defer close(gone)
		_ = cmd.Wait() // it is killed
	}()
}

// stop kills the program, as a power cut does, and waits for its end.
func (p *program) stop() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.gone
		p.cmd = nil
	}
}

// buildPrograms builds cloudcore and edgecore of this tree.
func buildPrograms(t *testing.T) string {
	t.Helper()
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out+"/", "./cmd/edgecore", "./cmd/cloudcore")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	return out
}

// ahead is by how much the clock of the edgecore that buildAhead builds is ahead.
const ahead = 2 * time.Minute

// buildAhead builds the edgecore of this tree with another package time, in which it is later than it is: to
// that program it is what a wrong clock of its machine is. All packages are compiled anew the first time.
func buildAhead(t *testing.T, out string) string {
	t.Helper()
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time", "time.go")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const line = "sec, nsec, mono := runtimeNow()\n"
	if n := strings.Count(string(text), line); n == 0 {
		t.Fatalf("%s does not read the clock as this test expects: %q is not there", file, line)
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	text = []byte(strings.ReplaceAll(string(text), line, fmt.Sprintf("sec, nsec, mono := runtimeNow(); sec += %d\n", int(ahead.Seconds()))))
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{file: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{changed: text, overlay: replace} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(out, "edgecore-ahead")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", path, "./cmd/edgecore")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	return path
}

// freeAddress is an address with a TCP port that is free now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// until waits until cond returns "", which says what is wrong.
func until(t *testing.T, limit time.Duration, cond func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		wrong := cond()
		if wrong == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(wrong)
		}
	}
}

// kubeletClient writes a certificate of an administrator that signs itself, for the API server as a
// client of kubelets, and its key.
func kubeletClient(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func message(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}
