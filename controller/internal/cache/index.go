package cache

// Index has the names of objects by something that they have, such as their node. Its owner
// makes and locks it.
type Index[K comparable] map[K]map[Name]struct{}

// Add adds a name; the zero value of K takes none.
func (x Index[K]) Add(at K, name Name) {
	var none K
	if at == none {
		return
	}
	if x[at] == nil {
		x[at] = make(map[Name]struct{})
	}
	x[at][name] = struct{}{}
}

// Remove removes a name.
func (x Index[K]) Remove(at K, name Name) {
	delete(x[at], name)
	if len(x[at]) == 0 {
		delete(x, at)
	}
}
