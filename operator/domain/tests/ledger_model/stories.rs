//! What is explored: small worlds, each complete.

use crate::mutants::Mutant;
use crate::operator::Wanted;
use crate::steps::{Last, Story};

const fn of(a: u8, b: u8, c: u8) -> Wanted {
    [Some(a), Some(b), Some(c)]
}

/// One unit, wherever it is wanted.
const ONE: &[Wanted] = &[of(1, 0, 0), of(0, 1, 0), of(0, 0, 1)];
/// Two units, together or not.
const TWO: &[Wanted] = &[of(2, 0, 0), of(0, 2, 0), of(0, 0, 2), of(1, 1, 0), of(0, 1, 1), of(1, 0, 1)];

/// A unit moves between three namespaces that are alike.
const SHIFT: Story = Story {
    name: "a unit shifts",
    namespaces: 3,
    operators: 1,
    budgets: &[1],
    wanted: ONE,
    last: Last::Stays,
    lag: false,
    alike: true,
    mutant: Mutant::None,
};

/// One operator more than there should ever be.
const fn by_two(story: Story) -> Story {
    Story { operators: 2, ..story }
}

pub const ONE_OPERATOR: Story = SHIFT;
pub const TWO_OPERATORS: Story = by_two(SHIFT);
pub const GONE: Story = Story { name: "a namespace goes and comes", last: Last::Goes, ..SHIFT };
pub const ADOPTED: Story = Story { name: "a namespace is adopted", last: Last::IsAdopted, ..SHIFT };
/// With a third beside them it doesn't end in 16 GiB.
const GONE_UNDER_TWO: Story = Story { namespaces: 2, ..by_two(GONE) };
const SHARED: Story = Story { name: "two units are shared", budgets: &[2], wanted: TWO, ..SHIFT };
const LOWERED: Story = Story { name: "the budget is lowered and raised", budgets: &[2, 1], ..SHARED };
const UNKNOWN: Story = Story {
    name: "what is wanted is not known",
    wanted: &[of(1, 0, 0), [None, Some(1), None], [Some(1), None, Some(0)]],
    alike: false,
    ..SHIFT
};

/// In a minute, on two cores.
pub const SMALL: &[Story] = &[TWO_OPERATORS, by_two(UNKNOWN), SHARED, LOWERED, GONE, ADOPTED];

/// In half an hour, with 16 GiB.
pub const LARGE: &[Story] = &[
    Story { lag: true, ..TWO_OPERATORS },
    Story { lag: true, ..LOWERED },
    by_two(Story { name: "the budget is nothing at times", budgets: &[1, 0], ..SHIFT }),
    Story { name: "a namespace is adopted, beside two units", last: Last::IsAdopted, ..SHARED },
    GONE_UNDER_TWO,
    by_two(ADOPTED),
];

/// Where each mutant is caught.
pub const CAUGHT: &[(Mutant, Story)] = &[
    (Mutant::SpecIsEnforced, ONE_OPERATOR),
    (Mutant::UsedIsIgnored, ONE_OPERATOR),
    (Mutant::PromiseIsIgnored, ONE_OPERATOR),
    (Mutant::PromiseNeverChanges, ONE_OPERATOR),
    (Mutant::NothingIsFenced, ONE_OPERATOR),
    (Mutant::OldQuotaIsTrusted, TWO_OPERATORS),
    (Mutant::FirstQuotaIsFull, GONE),
    (Mutant::FirstQuotaOverwrites, ONE_OPERATOR),
    (Mutant::QuotaWithoutVersion, ONE_OPERATOR),
    (Mutant::QuotaReadLate, ONE_OPERATOR),
    (Mutant::LedgerWithoutVersion, TWO_OPERATORS),
    (Mutant::QuotaBeforeLedger, ONE_OPERATOR),
    (Mutant::ReservedIsIgnored, ONE_OPERATOR),
    (Mutant::RightsBeforeStatus, ONE_OPERATOR),
    (Mutant::UnknownIsZero, ADOPTED),
    (Mutant::AdoptedAtOnce, ADOPTED),
    (Mutant::AdopteeIsOverlooked, ADOPTED),
    (Mutant::UnseenIsGone, GONE_UNDER_TWO),
    (Mutant::GoneIsOld, GONE_UNDER_TWO),
];
