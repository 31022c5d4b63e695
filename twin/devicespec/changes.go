package devicespec

import "github.com/edgekit/edgekit/twin"

// Changes reports whether a commit may change what a mapper sees of its device: whether it is
// there, its spec, its model, a desired value. Most commits are reports of actual values, which
// do not.
func Changes(c twin.Commit) bool {
	for _, effect := range c.Effects {
		switch e := effect.(type) {
		case twin.Membership:
			return true
		case twin.Document:
			for _, t := range e.Twins {
				if desired(t.Last) != desired(t.Current) {
					return true
				}
			}
		}
	}
	return false
}

// desired returns the desired value of a twin, "" for none.
func desired(t *twin.Twin) string {
	if t == nil || t.Expected == nil {
		return ""
	}
	return t.Expected.Value
}
