package nodejoin

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/join"
)

// waitingFile has, in the folder of the identity, what Wait needs after a restart.
const waitingFile = "waiting.json"

// Waiting is a join that waits for an operator.
type Waiting struct {
	Cloud   string `json:"cloud"` // host:port
	Node    string `json:"node"`
	Replace bool   `json:"replace,omitempty"`
	Token   string `json:"token"` // used up: it is good for this machine's key alone
	KeyHash string `json:"-"`     // of the machine's key; the operator compares it
	Joined  bool   `json:"-"`     // the machine has an identity, which the join replaces
}

// String says what the machine waits for.
func (w Waiting) String() string {
	return fmt.Sprintf("node %s waits for approval: edgectl node approve %s --key %s", w.Node, w.Node, w.KeyHash[:min(len(w.KeyHash), 16)])
}

// LoadWaiting returns the join that waits; false if there is none, or if the machine has an
// identity that it is not to replace. A damaged file is an error for a machine without an
// identity only.
func LoadWaiting(dataDir string) (Waiting, bool, error) {
	dir := filepath.Join(dataDir, IdentityDir)
	text, err := os.ReadFile(filepath.Join(dir, waitingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Waiting{}, false, nil
	}
	var w Waiting
	if err == nil {
		err = json.Unmarshal(text, &w)
	}
	if err == nil && (w.Cloud == "" || w.Node == "" || w.Token == "") {
		err = errors.New("it is not whole")
	}
	if err != nil {
		if _, joined := join.LoadCredentials(dir); joined == nil {
			return Waiting{}, false, nil // a node must not stop for what is left of a join
		}
		return Waiting{}, false, fmt.Errorf("%s: %w: join again with a new token", filepath.Join(dir, waitingFile), err)
	}
	if _, err := join.LoadCredentials(dir); err == nil {
		if !w.Replace {
			return Waiting{}, false, nil
		}
		w.Joined = true
	}
	key, err := join.PendingKey(dir)
	if err != nil {
		return Waiting{}, false, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Waiting{}, false, err
	}
	sum := sha256.Sum256(der)
	w.KeyHash = hex.EncodeToString(sum[:])
	return w, true, nil
}

// Wait goes on with a join that waits for an operator, until the cloud has decided or ctx
// ends. waiting, if not nil, is called before each pause. An identity that was there before
// is replaced only once the cloud has agreed. A machine that was denied keeps nothing of
// the join.
func Wait(ctx context.Context, dataDir string, waiting func(why error, next time.Duration)) (join.Credentials, error) {
	w, ok, err := LoadWaiting(dataDir)
	if err != nil {
		return join.Credentials{}, err
	}
	if !ok {
		return join.Credentials{}, errors.New("no join of this machine waits for approval")
	}
	dir := filepath.Join(dataDir, IdentityDir)
	key, err := join.PendingKey(dir)
	if err != nil {
		return join.Credentials{}, err
	}
	clock, err := join.NewClock(filepath.Join(dir, ClockFile))
	if err != nil {
		return join.Credentials{}, err
	}
	req := Request{DataDir: dataDir, Cloud: w.Cloud, Token: w.Token, Node: w.Node}
	for {
		credentials, err := join.JoinWhenApproved(ctx, req.toCloud(clock), key, waiting)
		switch {
		case err == nil:
			return credentials, keep(dir, w.Cloud, credentials)
		case errors.Is(err, join.ErrRevoked):
			return join.Credentials{}, errors.Join(err, join.DropPendingKey(dir), dropWaiting(dir))
		case !errors.Is(err, join.ErrUnreachable) && !errors.Is(err, join.ErrBusy) && !errors.Is(err, join.ErrServer):
			return join.Credentials{}, err
		}
		// After a restart the cloud may be away when it is asked first.
		if waiting != nil {
			waiting(err, awayRetry)
		}
		select {
		case <-time.After(awayRetry):
		case <-ctx.Done():
			return join.Credentials{}, ctx.Err()
		}
	}
}

// awayRetry is the pause after which a cloud that is away is asked again.
const awayRetry = 30 * time.Second

// saveWaiting keeps what Wait needs, with mode 0600.
func saveWaiting(dir string, req Request) error {
	text, err := json.Marshal(Waiting{Cloud: req.Cloud, Node: req.Node, Replace: req.Replace, Token: req.Token})
	if err != nil {
		return err
	}
	_, err = program.WriteConfig(filepath.Join(dir, waitingFile), append(text, '\n'), 0o600)
	return err
}

func dropWaiting(dir string) error {
	if err := os.Remove(filepath.Join(dir, waitingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// hardware describes the machine to the operator who approves it: by the serial number that
// the firmware gives, else by the machine's ID. "" where there is neither. root is / outside
// of tests.
func hardware(root string) string {
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(strings.Trim(string(text), "\x00\n"))
	}
	var parts []string
	for _, path := range []string{"proc/device-tree/model", "sys/class/dmi/id/product_name"} {
		if model := read(path); model != "" {
			parts = append(parts, model)
			break
		}
	}
	for _, id := range []struct{ name, path string }{
		{"serial", "proc/device-tree/serial-number"}, {"serial", "sys/class/dmi/id/product_serial"},
		{"uuid", "sys/class/dmi/id/product_uuid"}, {"machine-id", "etc/machine-id"},
	} {
		if text := read(id.path); text != "" && text != "0" && !strings.EqualFold(text, "none") {
			parts = append(parts, id.name+" "+text)
			break
		}
	}
	return strings.Join(parts, ", ")
}
