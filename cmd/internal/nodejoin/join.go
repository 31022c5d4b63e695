package nodejoin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/join"
)

const (
	// IdentityDir is the folder of the identity in the data folder.
	IdentityDir = "identity"
	// ClockFile is the file of join.Clock in the folder of the identity.
	ClockFile = "clock"

	cloudFile = "cloud.json"
)

// Request says which node this machine becomes. All fields but Replace are required.
type Request struct {
	DataDir string // the node's data folder
	Cloud   string // address of cloudcore, host:port
	Token   string // join token
	Node    string // name of the node
	Replace bool   // replace the identity that the machine has
}

// ErrJoined says that the machine has an identity already.
var ErrJoined = errors.New("this machine has already joined")

// State is what the data folder says of the machine.
type State struct {
	Credentials join.Credentials // its zero value has no Node
	Cloud       string           // host:port; "" if the file is missing or damaged
}

// Load reads the identity. Its error is join.ErrNoCredentials or wraps it where there is none.
func Load(dataDir string) (State, error) {
	dir := filepath.Join(dataDir, IdentityDir)
	credentials, err := join.LoadCredentials(dir)
	if err != nil {
		return State{}, err
	}
	cloud, err := LoadCloud(dir)
	if err != nil {
		cloud = ""
	}
	return State{Credentials: credentials, Cloud: cloud}, nil
}

// CheckCloud checks the form of an address of cloudcore.
func CheckCloud(cloud string) error {
	host, _, err := net.SplitHostPort(cloud)
	if err == nil && host == "" {
		err = errors.New("the host is missing")
	}
	if err != nil {
		return &program.UsageError{Setting: "cloud", Reason: err.Error() + ": want host:port"}
	}
	return nil
}

// NodeName returns name, or the machine's host name for "".
func NodeName(name string) (string, error) {
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return "", &program.UsageError{Setting: "node", Reason: err.Error() + ": give a name"}
		}
		name = strings.ToLower(host)
	}
	if err := join.CheckNodeName(name); err != nil {
		return "", &program.UsageError{Setting: "node", Reason: fmt.Sprintf("%v: have %q", err, name)}
	}
	return name, nil
}

// Join trades the token for an identity and keeps that. It returns an error that wraps
// ErrJoined if the machine has an identity and Replace is not set. Where the join waits for
// an operator the error is join.ErrPending, and Wait goes on with it, also after a restart.
func Join(ctx context.Context, req Request) (join.Credentials, error) {
	if err := CheckCloud(req.Cloud); err != nil {
		return join.Credentials{}, err
	}
	dir := filepath.Join(req.DataDir, IdentityDir)
	had, err := join.LoadCredentials(dir)
	if err == nil && !req.Replace {
		return had, fmt.Errorf("%s: %w as %s: use --replace to join anew", dir, ErrJoined, had.Node)
	}
	if err := writable(req.DataDir); err != nil {
		return join.Credentials{}, err
	}
	credentials, err := trade(ctx, req, dir)
	switch {
	case errors.Is(err, join.ErrPending):
		return join.Credentials{}, errors.Join(saveWaiting(dir, req), err)
	case err != nil:
		return join.Credentials{}, err
	}
	return credentials, keep(dir, req.Cloud, credentials)
}

// keep stores a new identity.
func keep(dir, cloud string, credentials join.Credentials) error {
	// The address first: without it the identity would be of no use.
	if err := SaveCloud(dir, cloud); err != nil {
		return err
	}
	if err := credentials.Save(dir); err != nil {
		return err
	}
	return dropWaiting(dir)
}

// busyTries is how often a cloud that is too busy is asked.
const busyTries = 5

// trade trades the token. Its key is on disk before the cloud is asked: when the
// answer is lost, the same request repeats the join with the same token.
func trade(ctx context.Context, req Request, dir string) (join.Credentials, error) {
	key, err := join.PendingKey(dir)
	if err != nil {
		return join.Credentials{}, err
	}
	clock, err := join.NewClock(filepath.Join(dir, ClockFile))
	if err != nil {
		return join.Credentials{}, err
	}
	for attempt := 1; ; attempt++ {
		credentials, err := join.JoinWithKey(ctx, req.toCloud(clock), key)
		switch {
		case errors.Is(err, join.ErrRevoked):
			// The next attempt makes another key.
			return credentials, errors.Join(err, join.DropPendingKey(dir))
		case !errors.Is(err, join.ErrBusy) || attempt == busyTries:
			return credentials, err
		}
		select {
		case <-time.After(time.Duration(attempt) * (time.Second + rand.N(2*time.Second))):
		case <-ctx.Done():
			return join.Credentials{}, ctx.Err()
		}
	}
}

func (r Request) toCloud(clock *join.Clock) join.Request {
	return join.Request{URL: "https://" + r.Cloud, Token: r.Token, Node: r.Node, Clock: clock, Machine: hardware("/")}
}

// MaxToken is more than any token has, in bytes.
const MaxToken = 4 << 10

// ReadToken returns the token, or where that is "" the one in the file, checked; "-" is the
// standard input. Its error is a *program.UsageError.
func ReadToken(token, file string) (string, error) {
	if file == "" {
		if _, err := join.ParseToken(token); err != nil {
			return "", &program.UsageError{Setting: "token", Reason: err.Error()}
		}
		return token, nil
	}
	from := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", &program.UsageError{Setting: "token-file", Reason: err.Error()}
		}
		defer f.Close()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, MaxToken))
	token = strings.TrimSpace(string(b))
	if err == nil {
		_, err = join.ParseToken(token)
	}
	if err != nil {
		return "", &program.UsageError{Setting: "token-file", Reason: err.Error()}
	}
	return token, nil
}

// writable finds out, before the token is used up, whether the identity can be kept.
func writable(dataDir string) error {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return fmt.Errorf("%w: choose another folder with --data-dir", err)
	}
	probe, err := os.CreateTemp(dataDir, ".probe-")
	if err != nil {
		return fmt.Errorf("%w: the data folder cannot be written: choose another with --data-dir", err)
	}
	probe.Close()
	return os.Remove(probe.Name())
}

type cloudAddress struct {
	Cloud string `json:"cloud"` // host:port
}

// LoadCloud reads the cloud's address from the folder of the identity.
func LoadCloud(dir string) (string, error) {
	name := filepath.Join(dir, cloudFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is missing: give the cloud's address with --cloud", name)
	}
	if err != nil {
		return "", err
	}
	var a cloudAddress
	if err := json.Unmarshal(text, &a); err != nil || a.Cloud == "" {
		return "", fmt.Errorf("%s is damaged: give the cloud's address with --cloud", name)
	}
	return a.Cloud, nil
}

// SaveCloud writes the cloud's address into the folder of the identity.
func SaveCloud(dir, cloud string) error {
	text, err := json.Marshal(cloudAddress{cloud})
	if err != nil {
		return err
	}
	_, err = program.WriteConfig(filepath.Join(dir, cloudFile), append(text, '\n'), 0o600)
	return err
}
