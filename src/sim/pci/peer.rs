//! Which function a function can reach without passing the PHB, read from the
//! model's registers: the measure for groups, written apart from them.

use super::tree::{NodeId, SimPci};

const SOURCE_VALIDATION: u16 = 1;
const REQUEST_REDIRECT: u16 = 4;
const COMPLETION_REDIRECT: u16 = 8;
const UPSTREAM_FORWARDING: u16 = 16;

impl SimPci {
    /// All functions of the model that are no bridges.
    pub fn nodes_below(&self) -> Vec<NodeId> {
        let mut all = self.all();
        all.retain(|node| !self.is_bridge(*node));
        all
    }

    /// Everything that a transaction of `from` can reach, or whose RID it can
    /// take on, before it comes to the PHB. Bridges are not listed.
    pub fn reach(&self, from: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut at = from;
        loop {
            let parent = self.nodes[at.0].parent;
            if self.leaves_sideways(at, parent) {
                for peer in self.children(parent).filter(|peer| *peer != at) {
                    self.collect(peer, &mut found);
                }
            }
            let Some(bridge) = parent else { break };
            let on = self.acs_on(bridge);
            let is_port = self.model(bridge).port == 6;
            if is_port && on & UPSTREAM_FORWARDING == 0 {
                self.collect(bridge, &mut found);
            }
            if is_port && on & SOURCE_VALIDATION == 0 {
                self.collect(self.validator_above(bridge), &mut found);
            }
            if self.shares_rid(bridge) {
                self.collect(bridge, &mut found);
            }
            at = bridge;
        }
        found.sort();
        found.dedup();
        found
    }

    /// Whether a transaction that is at `at` may go to another on the same bus.
    fn leaves_sideways(&self, at: NodeId, parent: Option<NodeId>) -> bool {
        let Some(parent) = parent else { return false };
        if self.shares_rid(parent) {
            return true;
        }
        let on = self.acs_on(at);
        let redirect = REQUEST_REDIRECT | COMPLETION_REDIRECT;
        let needed = match (self.model(at).port, self.model(at).acs) {
            (4 | 6, _) | (_, None) => redirect,
            (_, Some(acs)) => self.model(at).get16(acs + 4) & redirect,
        };
        on & needed != needed
    }

    fn acs_on(&self, node: NodeId) -> u16 {
        self.model(node)
            .acs
            .map_or(0, |at| self.model(node).get16(at + 6))
    }

    /// Conventional buses know one requester.
    fn shares_rid(&self, bridge: NodeId) -> bool {
        !matches!(self.model(bridge).port, 4..=6)
            || self.nodes[bridge.0]
                .parent
                .is_some_and(|above| self.shares_rid(above))
    }

    /// The next port above `from` that checks RIDs, or the root port.
    fn validator_above(&self, from: NodeId) -> NodeId {
        let mut at = from;
        while let Some(above) = self.nodes[at.0].parent {
            at = above;
            if self.model(at).port == 6 && self.acs_on(at) & SOURCE_VALIDATION != 0 {
                break;
            }
        }
        at
    }

    /// `node` itself, or everything below it.
    fn collect(&self, node: NodeId, found: &mut Vec<NodeId>) {
        if !self.is_bridge(node) {
            found.push(node);
            return;
        }
        for child in self.children(Some(node)) {
            self.collect(child, found);
        }
    }
}
