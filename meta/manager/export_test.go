package manager

// Keep stores an answer of the cloud as Query does.
var Keep = (*Manager).keep
