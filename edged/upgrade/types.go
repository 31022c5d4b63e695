package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Slot names the place of a program.
type Slot string

// The places of programs.
const (
	Base Slot = ""  // the program of the package
	A    Slot = "a" // DATA-DIR/slots/a
	B    Slot = "b" // DATA-DIR/slots/b
)

// String is "base", "a" or "b".
func (s Slot) String() string {
	if s == Base {
		return "base"
	}
	return string(s)
}

// other is the slot to download to while s runs.
func (s Slot) other() Slot {
	if s == A {
		return B
	}
	return A
}

// Phase says how far an upgrade is.
type Phase string

// The phases. The last two stay until the next download.
const (
	Idle        Phase = "Idle"        // there was no upgrade
	Downloading Phase = "Downloading" // a program is being fetched and verified
	Verified    Phase = "Verified"    // the program is in its slot and may be tried
	Trial       Phase = "Trial"       // the program is tried, or is at the next start
	Committed   Phase = "Committed"   // the latest upgrade has succeeded
	RolledBack  Phase = "RolledBack"  // the latest upgrade was taken back
)

// MaxTries is how often the program of a trial is started.
const MaxTries = 3

// Names of files in a slot and of folders.
const (
	Program  = "edgecore"      // the program, in a slot
	Control  = "edgectl"       // the tool of the same release, in a slot
	Manifest = "manifest.json" // the Release, in a slot
	SlotsDir = "slots"         // in the data folder
)

// Release describes a program that was verified. It is in the slot's manifest.json and in the
// boot record.
type Release struct {
	Version          string `json:"version"`                    // of edgekit, such as v1.2.3
	Digest           string `json:"digest"`                     // of the program's file, sha256:HEX
	Size             int64  `json:"size"`                       // of the program's file, in bytes
	StoreFormat      int    `json:"storeFormat"`                // to which it brings the node's store
	StoreFormatsRead []int  `json:"storeFormatsRead,omitempty"` // that it can read
	Protocol         int    `json:"protocol,omitempty"`         // of the link
	Artifact         string `json:"artifact,omitempty"`         // digest of the artefact's manifest for this platform
	Pinned           string `json:"pinned,omitempty"`           // digest of the index or manifest that was signed
	SignedBy         string `json:"signedBy,omitempty"`         // key or certificate that signed it
}

// reads reports whether the program can read a store of a format.
func (r Release) reads(format int) bool {
	return format == 0 || r.StoreFormat == format || slices.Contains(r.StoreFormatsRead, format)
}

// Request says what to download. Source is required.
type Request struct {
	ID      string // the caller's name for this upgrade, at most 256 bytes; it comes back in Outcome
	Source  string // oci://HOST/REPOSITORY[:TAG][@DIGEST], https://..., or the path of a file
	Version string // that the program must have, such as v1.2.3; "" means any
	Digest  string // sha256:HEX of the index or manifest; "" means that the signature alone decides
	// Keys are names of key pairs in the trust folder (release for release.pub), one of which must
	// have signed. None means any key pair or trust policy of the node.
	Keys []string
	// TrustPolicy is the name of the statement of trustpolicy.json that must have admitted it. ""
	// means any key pair or trust policy of the node.
	TrustPolicy string
}

// Fetcher fetches programs: artifact.Client is one.
type Fetcher interface {
	// Fetch verifies what the request names and writes Program and Control into dir, an empty
	// folder, durably. It retries what may pass until ctx ends. Accept is called when the
	// release is verified and before the programs are fetched; its error ends the fetch. What was
	// fetched so far is kept in cache, for a later call. Progress may be called with the bytes
	// that are there and those that there will be.
	Fetch(ctx context.Context, r Request, to Destination) (Release, error)
}

// Destination says where a Fetcher writes.
type Destination struct {
	Dir      string                  // an empty folder
	Cache    string                  // a folder for unfinished downloads
	Accept   func(Release) error     // nil accepts all
	Progress func(done, total int64) // nil is not called
}

// Health is the gate that a trial must pass. The zero value requires everything.
type Health struct {
	Timeout    time.Duration `json:"timeout,omitempty"`    // for the whole trial; 0 means DefaultTimeout
	Stable     time.Duration `json:"stable,omitempty"`     // how long all must be well without a break; 0 means DefaultStable
	IgnoreLink bool          `json:"ignoreLink,omitempty"` // true: no link is needed; it never is if there was none before
	IgnorePods bool          `json:"ignorePods,omitempty"` // true: the pods that were ready before need not be
}

// Defaults of Health.
const (
	DefaultTimeout = 5 * time.Minute
	DefaultStable  = time.Minute
)

func (h Health) withDefaults() Health {
	if h.Timeout == 0 {
		h.Timeout = DefaultTimeout
	}
	if h.Stable == 0 {
		h.Stable = DefaultStable
	}
	return h
}

// check refuses a gate that nothing can pass.
func (h Health) check() error {
	h = h.withDefaults()
	if h.Timeout < 0 || h.Stable < 0 {
		return errors.New("upgrade: health: timeout and stable must not be negative")
	}
	if h.Stable > h.Timeout {
		return fmt.Errorf("upgrade: health: stable (%s) is longer than timeout (%s): make timeout longer", h.Stable, h.Timeout)
	}
	return nil
}

// Outcome is how an upgrade ended.
type Outcome struct {
	ID     string    `json:"id,omitempty"`     // Request.ID
	Phase  Phase     `json:"phase"`            // Committed or RolledBack
	From   string    `json:"from"`             // version of the program before
	To     string    `json:"to"`               // version that was tried
	Reason string    `json:"reason,omitempty"` // why it was rolled back
	Time   time.Time `json:"time"`             // by the node's clock
}

// State is the state of upgrades on this node.
type State struct {
	Phase     Phase
	ID        string   // of the upgrade at hand; "" if there is none
	Running   Slot     // the place of the program that runs
	Active    Slot     // the place of the committed program
	Version   string   // of the program that runs
	Before    string   // version that Rollback goes back to; "" if there is none
	Candidate *Release // what is Verified or on Trial; nil otherwise
	Tries     int      // starts of the trial
	Problem   string   // what keeps a trial from being healthy; "" for nothing
	Outcome   *Outcome // of the latest upgrade; nil if there was none
	Done      int64    // bytes of the download that are there
	Total     int64    // bytes of the download; 0 while unknown
}

// Errors that callers branch on.
var (
	// ErrRestart is returned by Run when the program must end in order and be started again by
	// Restart or a supervisor.
	ErrRestart = errors.New("upgrade: the program must be started again")
	// ErrBusy: a trial is on, or begins at the next start. Remedy: wait for its outcome, or roll back.
	ErrBusy = errors.New("upgrade: a trial is on: wait for its outcome, or roll it back")
	// ErrNothing: there is nothing to switch to, to commit or to roll back to.
	ErrNothing = errors.New("upgrade: there is nothing to do that with")
	// ErrUnsupported: programs cannot be replaced on this operating system.
	ErrUnsupported = errors.New("upgrade: programs cannot be replaced on this operating system")
)

// FormatError refuses a program for the format of the store.
type FormatError struct {
	Version string // that was refused
	Reason  string
}

func (e *FormatError) Error() string {
	return "upgrade: " + e.Version + " is refused: " + e.Reason
}
