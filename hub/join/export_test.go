package join

// News tells that the server was seen to have a new authority.
func (i *Identity) News() <-chan struct{} { return i.news }
