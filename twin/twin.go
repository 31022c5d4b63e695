package twin

// Twin is one property of a device.
type Twin struct {
	Expected *Value `json:"expected,omitempty"` // the desired value; nil for none
	Actual   *Value `json:"actual,omitempty"`   // the value that the device reported; nil before its first report
	Type     string `json:"type"`               // one of the types in CheckValue
	Optional bool   `json:"optional,omitempty"` // it may be deleted
	Deleted  bool   `json:"deleted,omitempty"`  // it is only remembered for its versions

	ExpectedVersion Version `json:"expectedVersion,omitzero"`
	ActualVersion   Version `json:"actualVersion,omitzero"`

	// Declared says that the device's owner declared the property, with Rule.
	Declared bool `json:"declared,omitempty"`
	Rule     Rule `json:"rule,omitzero"`
	// Desired is what the owner desired last. A local edit after that changes
	// Expected only.
	Desired *string `json:"desired,omitempty"`
}

// differs reports whether the device does not have the desired value yet.
func (t Twin) differs() bool {
	return t.hasDesired() && (t.Actual == nil || t.Actual.Value != t.Expected.Value)
}

// hasDesired reports whether there is a desired value; an empty string counts as none.
func (t Twin) hasDesired() bool { return !t.Deleted && t.Expected != nil && t.Expected.Value != "" }

// Value is one side of a Twin.
type Value struct {
	Value string `json:"value"`
	Time  int64  `json:"time"` // when the edge stored it, in milliseconds since 1970
	// Measured is when an actual value was read from the device, as its mapper says, in milliseconds
	// since 1970; 0 if the mapper does not say so, or gives a time that cannot be right. It is never
	// after Time.
	Measured int64 `json:"measured,omitempty"`
	// Fault says which limit of the model an actual value breaks; empty for none. The value
	// is kept: it is what the device says.
	Fault string `json:"fault,omitempty"`
}

// Version counts the changes of one value of a Twin, those of the cloud and those of the edge.
type Version struct {
	Cloud uint64 `json:"cloud,omitempty"`
	Edge  uint64 `json:"edge,omitempty"`
}

// behind reports whether a request with version v is older than the stored version.
func (v Version) behind(held Version) bool { return v.Cloud < held.Cloud || v.Edge < held.Edge }

// Patch is a change of one twin. Nil fields stay as they are.
type Patch struct {
	Expected *string // the empty string withdraws the desired value
	Actual   *string
	// Measured is when Actual was read from the device, in milliseconds since 1970; 0 if that is not
	// known. See MaxSkew for what is believed.
	Measured int64
	Optional *bool  // only from true to false, and for a new twin
	Type     string // only for a new twin that its owner has not declared; empty means string

	// ExpectedVersion and ActualVersion, if not nil, refuse the request when they are
	// older than the stored versions. Sync stores them.
	ExpectedVersion *Version
	ActualVersion   *Version
}

// Update changes twins on behalf of a client on the node: a mapper, an
// app. A nil Patch deletes its property. It is carried out whole or
// refused whole.
type Update struct{ Twins map[string]*Patch }

// Sync is an Update by the cloud. Each value needs its version, which is
// adopted.
type Sync struct{ Twins map[string]*Patch }

// Read asks for a Result with all live twins.
type Read struct{}

// Result answers Update and Sync with the touched twins, and Read with
// all. A nil Twin is one that is deleted.
type Result struct{ Twins map[string]*Twin }

// Past has actual values for the history of their properties (Rule.History): those that
// differ from the one before, and all that are reported if Rule.ReportAlways is set.
type Past struct{ Values map[string]Value }

// Document has the twins that changed in more than a timestamp.
type Document struct{ Twins map[string]Transition }

// Transition is a twin before and after a change; nil where there was none, or is none any
// more.
type Transition struct{ Last, Current *Twin }

// Delta has the desired values that the device does not have yet.
type Delta struct {
	Twins  map[string]Twin   // all that have a desired value
	Values map[string]string // the desired values that differ from the actual one
}

func (Update) request()  {}
func (Sync) request()    {}
func (Read) request()    {}
func (Result) effect()   {}
func (Past) effect()     {}
func (Document) effect() {}
func (Delta) effect()    {}

// live returns all twins that are not deleted.
func (d Device) live() map[string]*Twin {
	live := make(map[string]*Twin, len(d.Twins))
	for name, t := range d.Twins {
		if !t.Deleted {
			live[name] = &t
		}
	}
	return live
}
