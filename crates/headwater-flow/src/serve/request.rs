//! A reader's texts, read by the types of the pattern's parameters.

use headwater_model::{
    AccessPlan, Bound, Error, Index, Key, Param, ParamRole, PlannedRead, RangeRead, Read, Value, WalkRead,
    nearest,
};

use super::{BATCH_KEYS_MAX, Refused, cursor};

/// Points that figures may be made of in one read.
pub(super) const POINTS_MAX: usize = 10_000;

/// A read, and what the answer's form depends on.
pub(super) struct Asked {
    pub read: Read,
    /// What cursors of this answer are good for.
    pub pages: Vec<u8>,
    /// Whether each key is answered for itself.
    pub batch: bool,
}

/// The read that a pattern and texts make together.
pub(super) fn read(plan: &AccessPlan, params: &[(String, String)]) -> Result<Asked, Refused> {
    let mut given = Given::new(plan, params)?;
    let mut pages = plan.access.name.as_bytes().to_vec();
    let read = match &plan.read {
        PlannedRead::Get { view } => {
            let key = given.values(ParamRole::Key)?;
            Read::Get { view: view.clone(), keys: vec![Key(key)] }
        }
        PlannedRead::Range { view, index, limit } => {
            let mut range = given.range(*limit)?;
            (range.view, range.index) = (view.clone(), *index);
            given.go_on(&mut range, &mut pages)?;
            Read::Range(range)
        }
        PlannedRead::Window { view, index, buckets, limit, .. } => {
            let mut range = given.range(*limit)?;
            (range.view, range.index) = (view.clone(), *index);
            match buckets {
                None => given.go_on(&mut range, &mut pages)?,
                Some(_) => range.limit = POINTS_MAX,
            }
            Read::Range(range)
        }
        PlannedRead::Walk { hops, limit, edges_max } => {
            let start = given.values(ParamRole::Start)?.pop().unwrap_or(Value::Null);
            let limit = given.limit(*limit)?;
            Read::Walk(WalkRead { start, hops: hops.clone(), limit, edges_max: *edges_max })
        }
    };
    given.finish()?;
    Ok(Asked { read, pages, batch: false })
}

/// Several keys of a `get`: the first of every parameter makes the first key, and so on.
pub(super) fn batch(plan: &AccessPlan, params: &[(String, String)]) -> Result<Asked, Refused> {
    let PlannedRead::Get { view } = &plan.read else {
        let name = &plan.access.name;
        let what = format!("`{name}` is no `get`: only documents are asked for by several keys at once");
        return Err(Refused::TooMuch(
            Error::unsupported(what).with_remedy(format!("ask for `{name}` by itself")),
        ));
    };
    let mut keys: Vec<Vec<Value>> = Vec::new();
    let mut first: Option<&str> = None;
    for param in plan.params.iter().filter(|param| param.role == ParamRole::Key) {
        let texts: Vec<&str> =
            params.iter().filter(|(name, _)| *name == *param.name).map(|(_, text)| &**text).collect();
        if texts.is_empty() {
            return Err(missing(param));
        }
        if texts.len() > BATCH_KEYS_MAX {
            let message = format!("is given more than {BATCH_KEYS_MAX} times");
            return Err(wrong(&param.name, &message, "ask for the rest in another request"));
        }
        if keys.is_empty() {
            keys.resize(texts.len(), Vec::new());
        }
        if texts.len() != keys.len() {
            let message =
                format!("is given {} times, and `{}` {}", texts.len(), first.unwrap_or_default(), keys.len());
            return Err(wrong(
                &param.name,
                &message,
                "give every part of each key, in the order of the keys",
            ));
        }
        for (key, text) in keys.iter_mut().zip(texts) {
            key.push(parse(param, text)?);
        }
        first.get_or_insert(&param.name);
    }
    let of_key =
        |name: &str| plan.params.iter().any(|param| param.role == ParamRole::Key && *param.name == *name);
    let left =
        params.iter().filter(|(name, _)| !of_key(name)).map(|(name, text)| (&**name, &**text)).collect();
    Given { plan, left }.finish()?;
    let read = Read::Get { view: view.clone(), keys: keys.into_iter().map(Key).collect() };
    Ok(Asked { read, pages: Vec::new(), batch: true })
}

fn parse(param: &Param, text: &str) -> Result<Value, Refused> {
    param
        .parse(text)
        .map_err(|bad| wrong(&param.name, &format!("is {:?}: expected {}", bad.given, bad.expected), ""))
}

fn missing(param: &Param) -> Refused {
    wrong(&param.name, "is missing", &format!("give a value of type {}", param.type_name))
}

/// What was given and not looked at yet.
struct Given<'a> {
    plan: &'a AccessPlan,
    left: Vec<(&'a str, &'a str)>,
}

impl<'a> Given<'a> {
    fn new(plan: &'a AccessPlan, params: &'a [(String, String)]) -> Result<Given<'a>, Refused> {
        let left: Vec<(&str, &str)> = params.iter().map(|(name, text)| (&**name, &**text)).collect();
        for (i, (name, _)) in left.iter().enumerate() {
            if left[..i].iter().any(|(other, _)| other == name) {
                return Err(wrong(name, "is given twice", "give it once"));
            }
        }
        Ok(Given { plan, left })
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let place = self.left.iter().position(|(given, _)| *given == name)?;
        Some(self.left.swap_remove(place).1)
    }

    fn value(&mut self, param: &Param) -> Result<Option<Value>, Refused> {
        match self.take(&param.name) {
            Some(text) => parse(param, text).map(Some),
            None if param.required => Err(missing(param)),
            None => Ok(None),
        }
    }

    fn values(&mut self, role: ParamRole) -> Result<Vec<Value>, Refused> {
        let mut values = Vec::new();
        for param in self.plan.params.iter().filter(|param| param.role == role) {
            values.extend(self.value(param)?);
        }
        Ok(values)
    }

    /// A range of no view yet.
    fn range(&mut self, limit_max: usize) -> Result<RangeRead, Refused> {
        let (PlannedRead::Range { view, index, .. } | PlannedRead::Window { view, index, .. }) =
            &self.plan.read
        else {
            return Err(wrong("pattern", "has no order", ""));
        };
        let by = self.values(ParamRole::By)?;
        let bound = |value: Option<Value>, inclusive| value.map(|value| Bound { value, inclusive });
        let from = bound(self.values(ParamRole::From)?.pop(), true);
        let to = bound(self.values(ParamRole::To)?.pop(), false);
        // The first point of a bucket is the first in time.
        let is_summed = matches!(self.plan.read, PlannedRead::Window { buckets: Some(_), .. });
        let reverse = match if is_summed { None } else { self.take("reverse") } {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(wrong("reverse", "is neither true nor false", "write true or false")),
        };
        let limit = self.limit(limit_max)?;
        Ok(RangeRead { view: view.clone(), index: *index, by, from, to, after: None, reverse, limit })
    }

    fn limit(&mut self, limit_max: usize) -> Result<usize, Refused> {
        let Some(text) = self.take("limit") else { return Ok(limit_max) };
        let limit = text.parse().ok().filter(|n: &usize| (1..=limit_max).contains(n));
        limit.ok_or_else(|| {
            wrong("limit", "is out of range", &format!("write a number from 1 to {limit_max}"))
        })
    }

    /// Takes the cursor, which is of these parameters or refused.
    fn go_on(&mut self, range: &mut RangeRead, pages: &mut Vec<u8>) -> Result<(), Refused> {
        pages.push(u8::from(range.reverse));
        pages.extend(Index::part(&range.by).unwrap_or_default());
        for bound in [&range.from, &range.to] {
            pages.push(u8::from(bound.is_some()));
            if let Some(bound) = bound {
                headwater_model::sort::write_sort(&bound.value, false, pages);
            }
        }
        if let Some(text) = self.take("cursor") {
            let place = cursor::read(pages, text).ok_or_else(|| {
                wrong(
                    "cursor",
                    "is not one that these parameters gave",
                    "pass `next` of the page before, with the same parameters, or leave it out to begin",
                )
            })?;
            range.after = Some(place);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Refused> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let mut known: Vec<&str> = self.plan.params.iter().map(|param| &*param.name).collect();
        match &self.plan.read {
            PlannedRead::Get { .. } => {}
            PlannedRead::Walk { .. } => known.push("limit"),
            PlannedRead::Window { buckets: Some(_), .. } => {}
            PlannedRead::Range { .. } | PlannedRead::Window { .. } => {
                known.extend(["limit", "cursor", "reverse"]);
            }
        }
        let remedy = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the parameters are {}", known.join(", ")),
        };
        Err(wrong(name, "is no parameter of this pattern", &remedy))
    }
}

fn wrong(name: &str, message: &str, remedy: &str) -> Refused {
    Refused::BadParameter {
        name: name.to_owned(),
        message: message.to_owned(),
        remedy: Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty()),
    }
}
