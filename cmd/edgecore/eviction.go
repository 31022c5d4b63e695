package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/edgekit/edgekit/edged"
)

// evictionFlags are the kubelet's settings of eviction.
type evictionFlags struct {
	EvictionHard                     signalValues    `help:"Evict a pod at once when less is left, for example memory.available<200Mi,nodefs.available<5%. Signals: memory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, pid.available. What is given replaces the default as a whole; an empty value turns it off. Default: memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%." placeholder:"SIGNAL<AMOUNT,..."`
	MergeDefaultEvictionSettings     bool            `help:"Signals that --eviction-hard does not name keep their default." name:"merge-default-eviction-settings"`
	EvictionSoft                     signalValues    `help:"Evict a pod when less is left for as long as --eviction-soft-grace-period says." placeholder:"SIGNAL<AMOUNT,..."`
	EvictionSoftGracePeriod          signalDurations `help:"How long each signal of --eviction-soft must be short, for example memory.available=90s." placeholder:"SIGNAL=TIME,..."`
	EvictionMinimumReclaim           signalValues    `help:"How much more than its threshold must be free before a shortage counts as over, for example nodefs.available=500Mi." placeholder:"SIGNAL=AMOUNT,..."`
	EvictionMaxPodGracePeriod        int32           `help:"How many seconds a pod may take to stop that is evicted for --eviction-soft; its own grace period may be shorter." default:"0" placeholder:"SECONDS"`
	EvictionPressureTransitionPeriod time.Duration   `help:"How long a condition such as DiskPressure stays after the node was last short of something." default:"5m"`
}

// eviction gives the settings in the form that edged takes them.
func (f *evictionFlags) eviction() edged.Eviction {
	return edged.Eviction{
		Hard: f.EvictionHard, MergeDefaults: f.MergeDefaultEvictionSettings, Soft: f.EvictionSoft, SoftGracePeriod: f.EvictionSoftGracePeriod,
		MinimumReclaim: f.EvictionMinimumReclaim, MaxPodGracePeriod: time.Duration(f.EvictionMaxPodGracePeriod) * time.Second,
		PressureTransitionPeriod: f.EvictionPressureTransitionPeriod,
	}
}

// signalValues are amounts by signals, as the kubelet writes them: pairs with < or =. No
// pair at all is an empty map, which is not nil.
type signalValues map[string]string

// UnmarshalText reads the pairs.
func (m *signalValues) UnmarshalText(text []byte) error {
	out := make(signalValues)
	// A map of the configuration file comes with semicolons.
	for pair := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == ',' || r == ';' }) {
		at := strings.IndexAny(pair, "<=")
		if at < 0 {
			return fmt.Errorf("%q: want SIGNAL<AMOUNT or SIGNAL=AMOUNT, for example memory.available<200Mi", pair)
		}
		name, value := strings.TrimSpace(pair[:at]), strings.TrimSpace(pair[at+1:])
		if _, twice := out[name]; twice {
			return fmt.Errorf("%s is given twice: leave one out", name)
		}
		out[name] = value
	}
	*m = out
	return nil
}

// signalDurations are times by signals.
type signalDurations map[string]time.Duration

// UnmarshalText reads the pairs.
func (m *signalDurations) UnmarshalText(text []byte) error {
	var pairs signalValues
	if err := pairs.UnmarshalText(text); err != nil {
		return err
	}
	out := make(signalDurations)
	for name, value := range pairs {
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("%s=%s: want a time such as 90s or 5m", name, value)
		}
		out[name] = d
	}
	*m = out
	return nil
}
